"""From raw ids and seconds to model inputs, on the host, in numpy.

Glossary: B batch, S history, C candidates, A actions, J hash functions of an id. History is
right-anchored: the newest event is last, padding stands at the start (`history_mask` False).
Ids stay outside the model: whoever calls it keeps them beside the rows (weakness P6).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix.config import ModelConfig
from phoenix.hashing import AUTHOR_HASH, POST_HASH, USER_HASH, hash_ids

Array = Any  # numpy or jax array: inputs are built in numpy and traced as jax


class ContextInputs(NamedTuple):
    """A viewer and their history, ready to encode."""

    user_hashes: Array  # [B, J] int32, 0 = unknown viewer
    history_post_hashes: Array  # [B, S, J] int32
    history_author_hashes: Array  # [B, S, J] int32
    history_actions: Array  # [B, S, A] float32, multi-hot
    history_dwell_seconds: Array  # [B, S] float32, −1 = unknown
    history_surface: Array  # [B, S] int32
    history_age_seconds: Array  # [B, S] float32, context time − event time; −1 = unknown
    history_mask: Array  # [B, S] bool, True = an event


class CandidateInputs(NamedTuple):
    """Posts to be scored for the viewer of the same row."""

    post_hashes: Array  # [B, C, J] int32
    author_hashes: Array  # [B, C, J] int32
    surface: Array  # [B, C] int32, where the post would be shown
    age_seconds: Array  # [B, C] float32, context time − creation; −1 = unknown


class ContextLike(Protocol):
    """What `phoenix.data.batches.RankerBatch` gives of the context (raw ids)."""

    @property
    def viewer_ids(self) -> NDArray[Any]: ...
    @property
    def history_post_ids(self) -> NDArray[Any]: ...
    @property
    def history_author_ids(self) -> NDArray[Any]: ...
    @property
    def history_actions(self) -> NDArray[Any]: ...
    @property
    def history_dwell_seconds(self) -> NDArray[Any]: ...
    @property
    def history_surface(self) -> NDArray[Any]: ...
    @property
    def history_age_seconds(self) -> NDArray[Any]: ...
    @property
    def history_mask(self) -> NDArray[Any]: ...


class CandidatesLike(Protocol):
    @property
    def candidate_post_ids(self) -> NDArray[Any]: ...
    @property
    def candidate_author_ids(self) -> NDArray[Any]: ...
    @property
    def candidate_surface(self) -> NDArray[Any]: ...
    @property
    def candidate_age_seconds(self) -> NDArray[Any]: ...


class BatchLike(ContextLike, CandidatesLike, Protocol):
    """Both."""


def context_inputs(config: ModelConfig, batch: ContextLike) -> ContextInputs:
    """Hash and clean a batch of contexts. ValueError: S or A does not fit the model."""
    mask = np.asarray(batch.history_mask, bool)
    actions = np.asarray(batch.history_actions, np.float32)
    if mask.shape[1] > config.history_length:
        raise ValueError(
            f"history holds {mask.shape[1]} slots, the model was built for at most "
            f"{config.history_length}: keep the newest {config.history_length}"
        )
    if actions.shape[-1] != config.num_actions:
        raise ValueError(
            f"history_actions has {actions.shape[-1]} columns, the model has "
            f"{config.num_actions} actions: {', '.join(config.action_names)}"
        )
    dwell = np.asarray(batch.history_dwell_seconds, np.float32)
    known = mask & (dwell > 0)  # 0 and NaN say unknown, as on the wire
    return ContextInputs(
        user_hashes=user_hashes(config, batch.viewer_ids),
        history_post_hashes=_masked(post_hashes(config, batch.history_post_ids), mask),
        history_author_hashes=_masked(author_hashes(config, batch.history_author_ids), mask),
        history_actions=_masked(actions, mask),
        history_dwell_seconds=np.where(known, dwell, np.float32(-1)),
        history_surface=_surface(config, np.where(mask, batch.history_surface, 0)),
        history_age_seconds=np.where(mask, batch.history_age_seconds, 0).astype(np.float32),
        history_mask=mask,
    )


def candidate_inputs(config: ModelConfig, batch: CandidatesLike) -> CandidateInputs:
    """Hash a batch of candidates."""
    age = np.asarray(batch.candidate_age_seconds, np.float32)
    return CandidateInputs(
        post_hashes=post_hashes(config, batch.candidate_post_ids),
        author_hashes=author_hashes(config, batch.candidate_author_ids),
        surface=_surface(config, batch.candidate_surface),
        age_seconds=np.where(age >= 0, age, np.float32(-1)),
    )


def ranker_inputs(config: ModelConfig, batch: BatchLike) -> tuple[ContextInputs, CandidateInputs]:
    return context_inputs(config, batch), candidate_inputs(config, batch)


def user_hashes(config: ModelConfig, user_ids: NDArray[Any]) -> NDArray[np.int32]:
    """[...] ids → [..., J] rows of the user table."""
    return hash_ids(user_ids, USER_HASH, config.user_rows, config.num_hashes)


def post_hashes(config: ModelConfig, post_ids: NDArray[Any]) -> NDArray[np.int32]:
    """[...] ids → [..., J] rows of the post table."""
    return hash_ids(post_ids, POST_HASH, config.post_rows, config.num_hashes)


def author_hashes(config: ModelConfig, author_ids: NDArray[Any]) -> NDArray[np.int32]:
    """[...] ids → [..., J] rows of the author table."""
    return hash_ids(author_ids, AUTHOR_HASH, config.author_rows, config.num_hashes)


def _masked(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    masked: NDArray[Any] = values * mask[..., None].astype(values.dtype)
    return masked


def _surface(config: ModelConfig, surface: NDArray[Any]) -> NDArray[np.int32]:
    """Surfaces the model does not know fall back to 0, "unspecified"."""
    values = np.asarray(surface, np.int32)
    return np.where((values >= 0) & (values < config.num_surfaces), values, 0).astype(np.int32)
