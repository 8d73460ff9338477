"""Candidates of a request as columns, and retrieved posts as a message, without an object a post.

Protobuf has no way to hand over one field of many messages at once. But a candidate consists of
varints alone, so what protobuf writes of all candidates is a row of pairs (tag of a candidate, its
length), (tag of a field, value) …, which numpy takes apart in a fifth of the time that attributes
take. Candidates that carry fields of a newer contract are read one by one.

Glossary: C candidates, F fields of a candidate by their numbers, N posts, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protos import phoenix_pb2 as pb
from service_kit.varints import PADDING, VARINT_BYTES_MAX, read_varints, write_varints

Ids = NDArray[np.uint64]

_NAMES: Final = ("post_id", "author_id", "video_duration_ms")  # fields 1, 2, 3: all varints
_CANDIDATE_TAG: Final = 8 * pb.PredictNextActionsRequest.CANDIDATES_FIELD_NUMBER + 2
_TAGS_BEFORE: Final = frozenset(
    8 * number + 2
    for number in (
        pb.PredictNextActionsRequest.REQUEST_ID_FIELD_NUMBER,
        pb.PredictNextActionsRequest.SEQUENCE_FIELD_NUMBER,
    )
)
_UNKNOWN: Final = 99
# Row of `candidate_columns` by a pair's tag; -1 for a candidate's own.
_FIELDS: Final = np.full(256, _UNKNOWN, np.intp)
_FIELDS[[_CANDIDATE_TAG, *(8 * number for number in range(1, len(_NAMES) + 1))]] = -1, 0, 1, 2

_POST_TAG: Final = 8 * pb.RetrieveResponse.POSTS_FIELD_NUMBER + 2
_POST_ID_AT, _AUTHOR_AT = 3, 4 + VARINT_BYTES_MAX  # where each number begins; its tag is before it
_SCORE_AT: Final = _AUTHOR_AT + VARINT_BYTES_MAX + 1
_POST_BYTES: Final = _SCORE_AT + 4


def candidate_columns(request: pb.PredictNextActionsRequest) -> NDArray[np.uint64]:
    """[F, C] post ids, author ids and durations in milliseconds; 0 where unset."""
    message, count = request.SerializeToString(), len(request.candidates)
    columns = _of_pairs(message[_first_candidate(message) :], count)
    return columns_of(request.candidates) if columns is None else columns


def columns_of(candidates: Sequence[pb.CandidatePost]) -> NDArray[np.uint64]:
    """The same the plain way, for any candidates."""
    rows = [[getattr(candidate, name) for candidate in candidates] for name in _NAMES]
    return np.array(rows, np.uint64).reshape(len(_NAMES), len(candidates))


def _first_candidate(message: bytes) -> int:
    """Where the first candidate begins: behind the fields that protobuf writes before it."""
    at = 0
    while at < len(message) and message[at] in _TAGS_BEFORE:
        length, at = _varint_at(message, at + 1)
        at += length
    return at


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    """(value, where the next field begins)."""
    value = shift = 0
    while message[at] >= 0x80:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | message[at] << shift, at + 1


def _of_pairs(message: bytes, count: int) -> NDArray[np.uint64] | None:
    """Of a message that begins with its candidates. None where one of them, or what is before
    their end, is not of known fields."""
    columns = np.zeros((len(_NAMES), count), np.uint64)
    if not count:
        return columns
    padded = np.frombuffer(message + PADDING, np.uint8)
    ends = np.flatnonzero(padded[: len(message)] < 0x80) + 1  # behind each varint
    ends = ends[: ends.size // 2 * 2]
    after, begins = ends[1::2], np.append(0, ends[1:-1:2])  # [P] of pairs
    values, tags = read_varints(padded, ends[0::2], after), padded[begins]
    opening = np.flatnonzero(tags == _CANDIDATE_TAG)[:count]
    if values is None or opening.size != count:
        return None
    stops = after[opening] + values[opening].astype(np.intp)
    if begins[opening[0]] != 0 or not np.array_equal(stops[:-1], begins[opening[1:]]):
        return None
    inside = int(np.searchsorted(after, stops[-1])) + 1
    if inside > after.size or after[inside - 1] != stops[-1]:
        return None
    of_candidate = np.repeat(np.arange(count), np.diff(opening, append=inside))
    fields = _FIELDS.take(tags[:inside])
    if fields.max() == _UNKNOWN:
        return None
    known = np.flatnonzero(fields >= 0)
    columns[fields[known], of_candidate[known]] = values[known]
    return columns


def retrieved_bytes(post_ids: Ids, author_ids: Ids, scores: NDArray[np.float32]) -> bytes:
    """Field `posts` [N] of a RetrieveResponse, for its MergeFromString. Each post has as many
    bytes as the next: its numbers are written in their longest form."""
    wire = np.empty((len(post_ids), _POST_BYTES), np.uint8)
    wire[:, 0], wire[:, 1] = _POST_TAG, _POST_BYTES - 2
    for tag, at, values in ((1 << 3, _POST_ID_AT, post_ids), (2 << 3, _AUTHOR_AT, author_ids)):
        wire[:, at - 1] = tag
        write_varints(wire[:, at : at + VARINT_BYTES_MAX], values)
    wire[:, _SCORE_AT - 1] = 3 << 3 | 5  # four bytes, lowest first
    wire[:, _SCORE_AT:] = np.ascontiguousarray(scores, "<f4").view(np.uint8).reshape(-1, 4)
    return wire.tobytes()
