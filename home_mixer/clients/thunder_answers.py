"""Thunder's answers from protobuf bytes to columns, without an object a post.

A post of thunder consists of varints alone, and posts come first: `message_rows` reads them. What
is not of this shape but valid all the same (unknown fields, fields of an answer before its posts,
longer tags) goes through the generated class, which is slower and knows everything.

Glossary: N posts, F fields of a post by their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.grpc_channel import Method
from home_mixer.clients.wire_kernels import message_rows
from protos import thunder_pb2

Request = thunder_pb2.GetInNetworkPostsRequest
Response = thunder_pb2.GetInNetworkPostsResponse
LightPost = thunder_pb2.LightPost
GetInNetworkPosts = Method[Request, bytes]

_SERVICE = thunder_pb2.DESCRIPTOR.services_by_name["InNetworkPostsService"]
_METHOD: Final = f"/{_SERVICE.full_name}/GetInNetworkPosts"
_NAMES: Final = {field.number: field.name for field in LightPost.DESCRIPTOR.fields}
FIELDS: Final = max(_NAMES) + 1  # row 0 is no field


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
    found = message_rows(message, Response.POSTS_FIELD_NUMBER, FIELDS)
    if found is None:
        return _decode_objects(message)
    posts, behind = found
    rest = Response.FromString(behind)
    if rest.posts:
        return _decode_objects(message)
    for number in _BOOLEANS:
        np.minimum(posts[number], 1, out=posts[number])
    return InNetworkAnswer(posts, rest.partial, rest.authors_scanned)


def _decode_objects(message: bytes) -> InNetworkAnswer:
    """The plain way, for any message."""
    response = Response.FromString(message)
    posts = np.zeros((FIELDS, len(response.posts)), np.uint64)
    for number, name in _NAMES.items():
        values = [getattr(post, name) & _ALL_BITS for post in response.posts]
        posts[number] = np.array(values, np.uint64)
    return InNetworkAnswer(posts, response.partial, response.authors_scanned)


_ALL_BITS: Final = (1 << 64) - 1
_BOOLEANS: Final = tuple(
    field.number for field in LightPost.DESCRIPTOR.fields if field.cpp_type == field.CPPTYPE_BOOL
)
