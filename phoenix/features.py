"""From raw ids and seconds to model inputs, on the host, in numpy.

Glossary: B batch, S history, C candidates, A actions, J hash functions of an id. History is
right-anchored: the newest event is last, padding stands at the start (`history_mask` False).
Ids stay outside the model: whoever calls it keeps them beside the rows (weakness P6).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix.config import ModelConfig, RankerConfig
from phoenix.hashing import AUTHOR_HASH, POST_HASH, TAG_HASH, USER_HASH, hash_ids

Array = Any  # numpy or jax array: inputs are built in numpy and traced as jax

MS_PER_HOUR = 3_600_000


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
    # None where the model does not read them:
    history_tag_hashes: Array | None = None  # [B, S, G] int32, 0 = none
    history_duration_seconds: Array | None = None  # [B, S] float32 of the posts, −1 = unknown


class CandidateInputs(NamedTuple):
    """Posts to be scored for the viewer of the same row."""

    post_hashes: Array  # [B, C, J] int32
    author_hashes: Array  # [B, C, J] int32
    surface: Array  # [B, C] int32, where the post would be shown
    age_seconds: Array  # [B, C] float32, context time − creation; −1 = unknown
    # None where the model does not read them:
    tag_hashes: Array | None = None  # [B, C, G] int32, 0 = none
    duration_seconds: Array | None = None  # [B, C] float32, −1 = unknown
    hour: Array | None = None  # [B, C] int32, 1 + hour of the day (UTC), 0 = unknown
    content: Array | None = None  # [B, C, W] float32, zeros = unknown


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
    tags, durations = optional_inputs(
        config, mask, _of(batch, "history_tags"), _of(batch, "history_duration_seconds")
    )
    return ContextInputs(
        user_hashes=user_hashes(config, batch.viewer_ids),
        history_post_hashes=_masked(post_hashes(config, batch.history_post_ids), mask),
        history_author_hashes=_masked(author_hashes(config, batch.history_author_ids), mask),
        history_actions=_masked(actions, mask),
        history_dwell_seconds=np.where(known, dwell, np.float32(-1)),
        history_surface=_surface(config, np.where(mask, batch.history_surface, 0)),
        history_age_seconds=np.where(mask, batch.history_age_seconds, 0).astype(np.float32),
        history_mask=mask,
        history_tag_hashes=tags,
        history_duration_seconds=durations,
    )


def candidate_inputs(config: ModelConfig, batch: CandidatesLike) -> CandidateInputs:
    """Hash a batch of candidates."""
    age = np.asarray(batch.candidate_age_seconds, np.float32)
    every = np.ones(age.shape, np.bool_)
    tags, durations = optional_inputs(
        config, every, _of(batch, "candidate_tags"), _of(batch, "candidate_duration_seconds")
    )
    return CandidateInputs(
        post_hashes=post_hashes(config, batch.candidate_post_ids),
        author_hashes=author_hashes(config, batch.candidate_author_ids),
        surface=_surface(config, batch.candidate_surface),
        age_seconds=np.where(age >= 0, age, np.float32(-1)),
        tag_hashes=tags,
        duration_seconds=durations,
        hour=hours(config, _of(batch, "at_ms"), every),
        content=contents(config, _of(batch, "candidate_content"), every),
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


def tag_hashes(config: RankerConfig, tags: NDArray[Any]) -> NDArray[np.int32]:
    """[...] ids → [...] rows of the tag table."""
    return hash_ids(tags, TAG_HASH, config.tag_rows, 1)[..., 0]


def optional_inputs(
    config: ModelConfig,
    mask: NDArray[np.bool_],
    tags: NDArray[Any] | None = None,
    duration_seconds: NDArray[Any] | None = None,
) -> tuple[Array | None, Array | None]:
    """Tag hashes [..., G] and durations [...] of posts [...]; None where the model reads none.

    What the caller does not know (None) is unknown to the model.
    """
    if not isinstance(config, RankerConfig):
        return None, None
    return _tags(config, mask, tags), _durations(config, mask, duration_seconds)


def _tags(
    config: RankerConfig, mask: NDArray[np.bool_], given: NDArray[Any] | None
) -> Array | None:
    if not config.tag_rows:
        return None
    tags = np.zeros((*mask.shape, config.tags_max), np.int64)
    if given is not None:
        count = min(given.shape[-1], config.tags_max)
        tags[..., :count] = given[..., :count]
    return tag_hashes(config, tags * mask[..., None])


def _durations(
    config: RankerConfig, mask: NDArray[np.bool_], given: NDArray[Any] | None
) -> Array | None:
    if not config.durations:
        return None
    seconds = np.full(mask.shape, -1, np.float32) if given is None else given
    return np.where(mask & (seconds > 0), seconds, np.float32(-1)).astype(np.float32)


def hours(config: ModelConfig, at_ms: NDArray[Any] | None, mask: NDArray[np.bool_]) -> Array | None:
    """[B] unix milliseconds (0 or less: unknown) → [B, C]; None: the model does not read it."""
    if not isinstance(config, RankerConfig) or not config.time_of_day:
        return None
    times = np.zeros(len(mask), np.int64) if at_ms is None else at_ms
    hour = np.where(times > 0, times // MS_PER_HOUR % 24 + 1, 0)
    return np.broadcast_to(hour[:, None], mask.shape).astype(np.int32)


def contents(
    config: ModelConfig, given: NDArray[Any] | None, mask: NDArray[np.bool_]
) -> Array | None:
    """[B, C, W]; None: the model reads no content. ValueError: vectors of another width."""
    if not isinstance(config, RankerConfig) or not config.content_width:
        return None
    if given is None:
        return np.zeros((*mask.shape, config.content_width), np.float32)
    if given.shape[-1] != config.content_width:
        raise ValueError(
            f"content vectors have {given.shape[-1]} numbers, the model reads "
            f"{config.content_width}: set content_width, or give vectors of that width"
        )
    return np.asarray(given, np.float32)


def _of(batch: object, name: str) -> NDArray[Any] | None:
    """A batch need not have what many models do not read; None: unknown."""
    found: NDArray[Any] | None = getattr(batch, name, None)
    return found


def _masked(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    masked: NDArray[Any] = values * mask[..., None].astype(values.dtype)
    return masked


def _surface(config: ModelConfig, surface: NDArray[Any]) -> NDArray[np.int32]:
    """Surfaces the model does not know fall back to 0, "unspecified"."""
    values = np.asarray(surface, np.int32)
    return np.where((values >= 0) & (values < config.num_surfaces), values, 0).astype(np.int32)
