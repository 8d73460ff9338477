"""One request: what the caller sent, checked, and what the query hydrators add.

``validate`` turns the wire message into a ``ScoredPostsQuery`` or raises a ValueError that names
the field, its limit and what came; the server answers it with INVALID_ARGUMENT. Protobuf stops
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from home_mixer.bloom import BloomFilter
from home_mixer.params import RankingParams

if TYPE_CHECKING:
    from protos import home_mixer_pb2

Ids = NDArray[np.uint64]

SEEN_IDS_MAX: Final = 10_000  # a heavy user's two days of impressions; 10 bytes each on the wire
SERVED_IDS_MAX: Final = 10_000
BLOOM_FILTERS_MAX: Final = 32  # each costs one probe per related id
CODE_CHARS_MAX: Final = 35  # the longest language tag that RFC 5646 advises to accept


def no_ids() -> Ids:
    return np.empty(0, np.uint64)


def sorted_ids(ids: Iterable[int] | NDArray[np.generic]) -> Ids:
    """Sorted, distinct, read-only uint64 ids without 0, which means "no post"."""
    array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids)).astype(np.uint64)
    unique: Ids = np.unique(array[array != 0])
    unique.flags.writeable = False
    return unique


@dataclass(frozen=True, slots=True)
class ActionSequence:
    """What a viewer did, oldest first, one row a post and aggregation window.

    S rows: ``post_ids``, ``author_ids`` uint64 [S]; ``acted_at_ms`` int64 [S], first action of the
    window; ``action_bits`` uint32 [S], bit i = action i of ``ACTION_NAMES``; ``dwell_seconds``
    float32 [S], 0 unknown; ``product_surface`` int8 [S].
    """

    post_ids: Ids = field(default_factory=no_ids)
    author_ids: Ids = field(default_factory=no_ids)
    acted_at_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    action_bits: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    dwell_seconds: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    product_surface: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))

    def __len__(self) -> int:
        return len(self.post_ids)

    def last(self, count: int) -> Self:
        """The newest ``count`` rows."""
        start = max(len(self) - count, 0)
        columns = (getattr(self, name)[start:] for name in self.__dataclass_fields__)
        return type(self)(*columns)


@dataclass(frozen=True, slots=True)
class ScoredPostsQuery:
    """A checked request. Id arrays are sorted and distinct (``sorted_ids``)."""

    viewer_id: int
    request_id: str
    now_ms: int
    params: RankingParams
    client_app_id: int = 0
    country_code: str = ""
    language_code: str = ""
    seen_ids: Ids = field(default_factory=no_ids)
    served_ids: Ids = field(default_factory=no_ids)
    in_network_only: bool = False
    is_bottom_request: bool = False
    bloom_filters: tuple[BloomFilter, ...] = ()
    leaves_traces: bool = True  # no: an explanation, which must not count as served
    # What the query hydrators add.
    action_sequence: ActionSequence = field(default_factory=ActionSequence)
    muted_keywords: tuple[str, ...] = ()
    blocked_user_ids: Ids = field(default_factory=no_ids)
    muted_user_ids: Ids = field(default_factory=no_ids)
    followed_user_ids: Ids = field(default_factory=no_ids)
    subscribed_user_ids: Ids = field(default_factory=no_ids)
    user_features_age_ms: int = -1  # −1: not known; 0: read now; more: the last known ones
    served_history_ids: Ids = field(default_factory=no_ids)


def validate(
    message: home_mixer_pb2.ScoredPostsQuery,
    *,
    request_id: str,
    now_ms: int,
    params: RankingParams,
) -> ScoredPostsQuery:
    """The checked query, or ValueError naming field, limit and size."""
    if message.viewer_id == 0:
        raise ValueError("viewer_id must be specified")
    if message.viewer_id < 0:
        raise ValueError(f"viewer_id is {message.viewer_id}; a user's id is positive")
    return ScoredPostsQuery(
        viewer_id=message.viewer_id,
        request_id=request_id,
        now_ms=now_ms,
        params=params,
        client_app_id=message.client_app_id,
        country_code=_code("country_code", message.country_code),
        language_code=_code("language_code", message.language_code),
        seen_ids=_ids("seen_ids", message.seen_ids, SEEN_IDS_MAX),
        served_ids=_ids("served_ids", message.served_ids, SERVED_IDS_MAX),
        in_network_only=message.in_network_only,
        is_bottom_request=message.is_bottom_request,
        bloom_filters=_bloom_filters(message),
    )


def _code(name: str, value: str) -> str:
    if len(value) > CODE_CHARS_MAX:
        raise ValueError(f"{name} has {len(value)} characters; the limit is {CODE_CHARS_MAX}")
    return value


def _ids(name: str, values: Sequence[int], limit: int) -> Ids:
    array = np.array(values, dtype=np.int64)
    if len(array) > limit:
        raise ValueError(f"{name} has {len(array)} ids; the limit is {limit}: send the newest")
    negative = np.flatnonzero(array < 0)
    if len(negative):
        index = int(negative[0])
        raise ValueError(f"{name}[{index}] is {array[index]}; a post's id is not negative")
    return sorted_ids(array)


def _bloom_filters(message: home_mixer_pb2.ScoredPostsQuery) -> tuple[BloomFilter, ...]:
    entries = message.bloom_filter_entries
    if len(entries) > BLOOM_FILTERS_MAX:
        raise ValueError(
            f"bloom_filter_entries has {len(entries)} filters; the limit is {BLOOM_FILTERS_MAX}"
        )
    filters = []
    for index, entry in enumerate(entries):
        try:
            filters.append(BloomFilter(entry.bits, entry.num_bits, entry.num_hashes))
        except ValueError as error:
            raise ValueError(f"bloom_filter_entries[{index}]: {error}") from error
    return tuple(filters)
