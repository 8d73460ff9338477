"""From a request's messages to the arrays that training builds, so both see one thing.

History follows training's rules: events strictly before the context time, oldest to newest, the
newest S kept, right-anchored. The history's ages count from `context_time_ms`, the request's time
rounded up to a step, so that the next page within the step meets the same encoding in the cache;
candidates' ages count from the request's own time. Both are functions of the request alone.

S history, C candidates, A actions.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from phoenix.config import ModelConfig
from phoenix.data.ages import post_ages_seconds
from phoenix.data.history import HistoryBatch
from phoenix.features import CandidateInputs, ContextInputs, candidate_inputs, context_inputs
from phoenix.serving.candidate_columns import columns_of
from phoenix.serving.limits import (
    CANDIDATES_MAX,
    EXCLUDED_AUTHORS_MAX,
    EXCLUDED_POSTS_MAX,
    ID_MAX,
    RETRIEVE_RESULTS_MAX,
    SEQUENCE_ACTIONS_MAX,
    TIME_MS_MAX,
)
from protos import phoenix_pb2 as pb
from service_kit.action_list import ACTION_INDEX

Scalar = TypeVar("Scalar", bound=np.generic)

_CONTEXT_DIGEST_BYTES = 16  # 128 bits: no two contexts of a cache's life collide


class BadRequestError(ValueError):
    """The request breaks a stated limit; the message says which, what came and what is taken."""


@dataclass(frozen=True, slots=True)
class Context:
    """One viewer's inputs [1, S, …] and their digest, by which encodings are cached."""

    inputs: ContextInputs
    digest: bytes


@dataclass(frozen=True, eq=False, slots=True)
class _Candidates:
    candidate_post_ids: NDArray[np.int64]  # [1, C]
    candidate_author_ids: NDArray[np.int64]  # [1, C]
    candidate_surface: NDArray[np.int32]  # [1, C]
    candidate_age_seconds: NDArray[np.float32]  # [1, C]
    candidate_duration_seconds: NDArray[np.float32]  # [1, C], 0: unknown
    at_ms: NDArray[np.int64]  # [1]


def check_prediction(request: pb.PredictNextActionsRequest) -> None:
    """Raises BadRequestError for a request that no model can take."""
    _at_most("candidates", len(request.candidates), CANDIDATES_MAX)
    _check_sequence(request.sequence)
    _is_time("now_ms", request.now_ms)


def check_retrieval(request: pb.RetrieveRequest) -> None:
    """Raises BadRequestError for a request that no model can take."""
    _at_most("max_results", request.max_results, RETRIEVE_RESULTS_MAX)
    _at_most("exclude_post_ids", len(request.exclude_post_ids), EXCLUDED_POSTS_MAX)
    _at_most("exclude_author_ids", len(request.exclude_author_ids), EXCLUDED_AUTHORS_MAX)
    _check_sequence(request.sequence)
    _is_time("now_ms", request.now_ms)
    _is_time("posts_after_ms", request.posts_after_ms)


def context_time_ms(now_ms: int, step_ms: int) -> int:
    """`now_ms` rounded up to a multiple of `step_ms`: no event before now gets a negative age."""
    return -(-now_ms // step_ms) * step_ms


def history_of(
    config: ModelConfig, sequence: pb.UserActionSequence, now_ms: int, step_ms: int
) -> HistoryBatch:
    """The newest `config.history_length` events before `now_ms` of one viewer, as [1, S] arrays.

    Left out, as in training, are events without a post id, actions that the model does not know,
    and events in which nothing else happened.
    """
    known = frozenset(ACTION_INDEX[name] + 1 for name in config.action_names)
    events = [
        event
        for event in sequence.actions
        if event.post_id and event.acted_at_ms < now_ms and _tells(event, known)
    ]
    events.sort(key=lambda event: event.acted_at_ms)  # stable: equal times keep their order
    events = events[-config.history_length :]
    length = config.history_length
    ages_ms = context_time_ms(now_ms, step_ms) - _column([e.acted_at_ms for e in events], length)
    mask = _right(np.ones(len(events), np.bool_), length)
    return HistoryBatch(
        viewer_ids=_signed([sequence.user_id]),
        history_post_ids=_right(_signed([e.post_id for e in events]), length)[None],
        history_author_ids=_right(_signed([e.author_id for e in events]), length)[None],
        history_actions=_right(_multi_hot(config, events), length)[None],
        history_dwell_seconds=_right(_dwell(events), length)[None],
        history_surface=_column([e.product_surface for e in events], length)[None].astype(np.int32),
        history_age_seconds=np.where(mask, ages_ms / 1000.0, 0.0)[None].astype(np.float32),
        history_mask=mask[None],
    )


def build_context(
    config: ModelConfig, sequence: pb.UserActionSequence, now_ms: int, step_ms: int
) -> Context:
    """A viewer's model inputs and digest."""
    inputs = context_inputs(config, history_of(config, sequence, now_ms, step_ms))
    digest = hashlib.blake2b(digest_size=_CONTEXT_DIGEST_BYTES)
    for array in (array for array in inputs if array is not None):
        digest.update(np.ascontiguousarray(array).data)
    return Context(inputs, digest.digest())


def build_candidates(
    config: ModelConfig, candidates: Sequence[pb.CandidatePost], surface: int, now_ms: int
) -> CandidateInputs:
    """Model inputs [1, C, …] of candidates. Raises BadRequestError for post id 0."""
    return candidates_of(config, columns_of(candidates), surface, now_ms)


def candidates_of(
    config: ModelConfig, columns: NDArray[np.uint64], surface: int, now_ms: int
) -> CandidateInputs:
    """The same from `candidate_columns` [3, C]."""
    post_ids, author_ids, video_ms = columns
    if len(post_ids) and (post_ids.min() == 0 or post_ids.max() > ID_MAX):
        at = int(np.argmax((post_ids == 0) | (post_ids > ID_MAX)))
        raise BadRequestError(
            f"candidates[{at}].post_id is {post_ids[at]}, expected 1 to {ID_MAX}: "
            "leave the candidate out or send its id"
        )
    signed = post_ids.astype(np.int64)[None]
    return candidate_inputs(
        config,
        _Candidates(
            candidate_post_ids=signed,
            candidate_author_ids=author_ids.astype(np.int64)[None],
            candidate_surface=np.full(signed.shape, surface, np.int32),
            candidate_age_seconds=post_ages_seconds(signed[0], np.array(now_ms))[None],
            candidate_duration_seconds=(video_ms / 1000.0).astype(np.float32)[None],
            at_ms=np.array([now_ms], np.int64),
        ),
    )


def _tells(event: pb.AggregatedAction, known: frozenset[int]) -> bool:
    """Whether an event holds anything that the model can read."""
    return not known.isdisjoint(event.actions) or 0 < event.dwell_seconds < math.inf


def _multi_hot(config: ModelConfig, events: Sequence[pb.AggregatedAction]) -> NDArray[np.float32]:
    """[n, A]: what the viewer did, in the model's order of actions."""
    columns = {ACTION_INDEX[name] + 1: at for at, name in enumerate(config.action_names)}
    done = np.zeros((len(events), config.num_actions), np.float32)
    for row, event in enumerate(events):
        for action in event.actions:
            if action in columns:
                done[row, columns[action]] = 1.0
    return done


def _dwell(events: Sequence[pb.AggregatedAction]) -> NDArray[np.float32]:
    """Seconds; 0 where unknown, as in training. A value that is no number is unknown."""
    seconds = np.array([event.dwell_seconds for event in events], np.float32)
    return np.where(np.isfinite(seconds) & (seconds > 0), seconds, np.float32(0))


def _right(values: NDArray[Scalar], length: int) -> NDArray[Scalar]:
    """`values` [n, …] at the end of `length` zeros."""
    anchored = np.zeros((length, *values.shape[1:]), values.dtype)
    if len(values):
        anchored[-len(values) :] = values
    return anchored


def _column(values: Sequence[int], length: int) -> NDArray[np.int64]:
    return _right(np.array(values, np.int64), length)


def _unsigned(ids: Sequence[int]) -> NDArray[np.uint64]:
    return np.array(ids, np.uint64)


def _signed(ids: Sequence[int]) -> NDArray[np.int64]:
    return _unsigned(ids).astype(np.int64)


def _check_sequence(sequence: pb.UserActionSequence) -> None:
    _at_most("sequence.actions", len(sequence.actions), SEQUENCE_ACTIONS_MAX)


def _at_most(field: str, size: int, limit: int) -> None:
    if size > limit:
        raise BadRequestError(f"{field}: {size} given, at most {limit} taken; split the request")


def _is_time(field: str, value: int) -> None:
    if not 0 <= value <= TIME_MS_MAX:
        raise BadRequestError(
            f"{field} is {value}, expected milliseconds since 1970 up to {TIME_MS_MAX}, or 0"
        )
