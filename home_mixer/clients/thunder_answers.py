"""Thunder's answers from protobuf bytes to columns, without an object a post.

A post of thunder consists of varints alone, and so do tag and length in front of it. The whole
answer is thus a row of varints that numpy finds at once (the last byte of each is below 128) and
takes in pairs: (tag of a post, its length), (tag of a field, value) … What is not of this shape but
valid all the same (unknown fields, fields of an answer before its posts, longer tags) goes through
the generated class, which is slower and knows everything.

Glossary: N posts, P pairs, F fields of a post by their numbers, L bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.grpc_channel import Method
from protos import thunder_pb2
from service_kit.varints import PADDING, read_varints

Request = thunder_pb2.GetInNetworkPostsRequest
Response = thunder_pb2.GetInNetworkPostsResponse
LightPost = thunder_pb2.LightPost
GetInNetworkPosts = Method[Request, bytes]

_SERVICE = thunder_pb2.DESCRIPTOR.services_by_name["InNetworkPostsService"]
_METHOD: Final = f"/{_SERVICE.full_name}/GetInNetworkPosts"
_NAMES: Final = {field.number: field.name for field in LightPost.DESCRIPTOR.fields}
FIELDS: Final = max(_NAMES) + 1  # row 0 is no field

_POSTS_TAG: Final = 8 * Response.POSTS_FIELD_NUMBER + 2
_PARTIAL_TAG: Final = 8 * Response.PARTIAL_FIELD_NUMBER
_SCANNED_TAG: Final = 8 * Response.AUTHORS_SCANNED_FIELD_NUMBER


@dataclass(frozen=True, slots=True)
class InNetworkAnswer:
    """``posts`` [F, N] uint64: row f is LightPost's field number f, 0 where it is unset."""

    posts: NDArray[np.uint64]
    partial: bool = False
    authors_scanned: int = 0


def in_network_method(channel: grpc.aio.Channel) -> GetInNetworkPosts:
    """The stub's method, but its answer is what came over the wire: see `decode_answer`."""
    method: GetInNetworkPosts = channel.unary_unary(
        _METHOD, request_serializer=Request.SerializeToString
    )
    return method


def decode_answer(message: bytes) -> InNetworkAnswer:
    """Raises google.protobuf.message.DecodeError for what is no GetInNetworkPostsResponse."""
    answer = _decode_pairs(message)
    return _decode_objects(message) if answer is None else answer


def _decode_objects(message: bytes) -> InNetworkAnswer:
    """The plain way, for any message."""
    response = Response.FromString(message)
    posts = np.zeros((FIELDS, len(response.posts)), np.uint64)
    for number, name in _NAMES.items():
        values = [getattr(post, name) & _ALL_BITS for post in response.posts]
        posts[number] = np.array(values, np.uint64)
    return InNetworkAnswer(posts, response.partial, response.authors_scanned)


def _decode_pairs(message: bytes) -> InNetworkAnswer | None:
    """None where the message is not a row of pairs, posts first."""
    size = len(message)
    padded = np.frombuffer(message + PADDING, np.uint8)
    ends = np.flatnonzero(padded[:size] < 0x80) + 1  # behind each varint
    if ends.size == 0 or ends[-1] != size or ends.size % 2:
        return None
    after = ends[1::2]  # [P] behind each pair
    values_at = ends[0::2]
    begins = np.empty_like(after)
    begins[0], begins[1:] = 0, after[:-1]
    if (values_at - begins).max() > 1:
        return None
    values = read_varints(padded, values_at, after)
    if values is None:
        return None
    return _gather(padded[begins], begins, after, values)


def _gather(
    tags: NDArray[np.uint8],
    begins: NDArray[np.intp],
    after: NDArray[np.intp],
    values: NDArray[np.uint64],
) -> InNetworkAnswer | None:
    """From pairs [P] of tag and value that lie at ``begins`` up to ``after``."""
    opening = np.flatnonzero(tags == _POSTS_TAG)
    inside = _pairs_of_posts(opening, begins, after, values)
    if inside is None:
        return None
    rows = _ROWS.take(tags[:inside])
    tail = dict(zip(tags[inside:].tolist(), values[inside:].tolist(), strict=True))
    if (inside and rows.max() == _UNKNOWN) or not tail.keys() <= {_PARTIAL_TAG, _SCANNED_TAG}:
        return None
    count = opening.size
    of_post = np.repeat(np.arange(count), np.diff(opening, append=inside))
    posts = np.zeros((FIELDS, count), np.uint64)
    # Of a field that came twice the last stays.
    posts.reshape(-1)[rows * count + of_post] = values[:inside]
    posts[0] = 0  # the posts' lengths
    for number in _BOOLEANS:
        posts[number] = posts[number] != 0
    partial, scanned = tail.get(_PARTIAL_TAG, 0) != 0, tail.get(_SCANNED_TAG, 0) & 0xFFFFFFFF
    return InNetworkAnswer(posts, partial, scanned)


def _pairs_of_posts(
    opening: NDArray[np.intp],
    begins: NDArray[np.intp],
    after: NDArray[np.intp],
    values: NDArray[np.uint64],
) -> int | None:
    """How many pairs belong to posts: all before the end of the last one. None unless the first
    post is in front, every post begins where the one before ends, and the last ends with a pair."""
    if opening.size == 0:
        return 0
    stops = after[opening] + values[opening].astype(np.intp)
    starts = begins[opening]
    if starts[0] != 0 or not np.array_equal(stops[:-1], starts[1:]):
        return None
    inside = int(np.searchsorted(after, stops[-1])) + 1
    return inside if inside <= after.size and after[inside - 1] == stops[-1] else None


_ALL_BITS: Final = (1 << 64) - 1
_UNKNOWN: Final = 255
_BOOLEANS: Final = tuple(
    field.number for field in LightPost.DESCRIPTOR.fields if field.cpp_type == field.CPPTYPE_BOOL
)


def _rows_by_tag() -> NDArray[np.intp]:
    """[256] row of `InNetworkAnswer.posts` by tag; 0, which is no field, for a post's own tag."""
    rows = np.full(256, _UNKNOWN, np.intp)
    rows[_POSTS_TAG] = 0
    for number in _NAMES:
        rows[8 * number] = number
    return rows


_ROWS: Final = _rows_by_tag()
