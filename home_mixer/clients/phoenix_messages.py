"""Phoenix's methods and messages: what a query becomes on the wire, and what answers become here.

The ranker's request is written, and retrieval's answer read, as bytes: both are thousands of small
messages, which cost a step of Python each as objects.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import grpc.aio
import numpy as np

from home_mixer.clients.grpc_channel import Method
from home_mixer.clients.wire_kernels import (
    ACTIONS_MAX,
    EVENT_BYTES_MAX,
    message_rows,
    put_events,
)
from home_mixer.query import Ids, ScoredPostsQuery
from protos import actions_pb2, phoenix_pb2

SEQUENCES_REMEMBERED: Final = 64  # more than feeds that run at once; 50 kB each

Predict = Method[bytes, phoenix_pb2.PredictNextActionsResponse]
Retrieve = Method[phoenix_pb2.RetrieveRequest, bytes]

_SERVICES: Final = phoenix_pb2.DESCRIPTOR.services_by_name
_PREDICT: Final = f"/{_SERVICES['PredictionService'].full_name}/PredictNextActions"
_RETRIEVE: Final = f"/{_SERVICES['RetrievalService'].full_name}/Retrieve"
_POST: Final = phoenix_pb2.RetrievedPost

_EVENTS_TAG: Final = phoenix_pb2.UserActionSequence.ACTIONS_FIELD_NUMBER << 3 | 2
_KNOWN_ACTIONS: Final = np.uint64(
    sum(1 << number - 1 for number in actions_pb2.Action.values() if 0 < number <= ACTIONS_MAX)
)


def predict_method(channel: grpc.aio.Channel) -> Predict:
    """The stub's method, but its request is a PredictNextActionsRequest's bytes."""
    method: Predict = channel.unary_unary(
        _PREDICT, response_deserializer=phoenix_pb2.PredictNextActionsResponse.FromString
    )
    return method


def retrieve_method(channel: grpc.aio.Channel) -> Retrieve:
    """The stub's method, but its answer is what came over the wire: see `retrieved_ids`."""
    method: Retrieve = channel.unary_unary(
        _RETRIEVE, request_serializer=phoenix_pb2.RetrieveRequest.SerializeToString
    )
    return method


def retrieved_ids(message: bytes) -> tuple[Ids, Ids]:
    """(post ids, author ids) [N] of a RetrieveResponse, best first.

    Raises google.protobuf.message.DecodeError for what is none.
    """
    found = message_rows(
        message,
        phoenix_pb2.RetrieveResponse.POSTS_FIELD_NUMBER,
        len(_POST.DESCRIPTOR.fields) + 1,
        fixed=_POST.SCORE_FIELD_NUMBER,
    )
    if found is None:
        return _decode_objects(message)
    posts, behind = found
    if phoenix_pb2.RetrieveResponse.FromString(behind).posts:
        return _decode_objects(message)
    return posts[_POST.POST_ID_FIELD_NUMBER], posts[_POST.AUTHOR_ID_FIELD_NUMBER]


def _decode_objects(message: bytes) -> tuple[Ids, Ids]:
    """The plain way, for any message."""
    posts = phoenix_pb2.RetrieveResponse.FromString(message).posts
    return (
        np.array([post.post_id for post in posts], np.uint64),
        np.array([post.author_id for post in posts], np.uint64),
    )


class SequenceMessages:
    """Builds a request's sequence once, for retrieval and for the ranker: it is the largest part
    of both messages. Remembers the last requests; a forgotten one is built again."""

    def __init__(self, remembered_max: int = SEQUENCES_REMEMBERED) -> None:
        self._remembered_max = remembered_max
        self._messages: OrderedDict[tuple[str, int], phoenix_pb2.UserActionSequence] = OrderedDict()

    def of(self, query: ScoredPostsQuery, length: int) -> phoenix_pb2.UserActionSequence:
        """The newest ``length`` events; not to be changed by the caller."""
        key = query.request_id, min(length, len(query.action_sequence))
        message = self._messages.get(key)
        if message is None:
            message = self._messages[key] = sequence_message(query, length)
            if len(self._messages) > self._remembered_max:
                self._messages.popitem(last=False)
        return message


def sequence_message(query: ScoredPostsQuery, length: int) -> phoenix_pb2.UserActionSequence:
    """The newest ``length`` events, oldest first."""
    sequence = query.action_sequence.last(length)
    wire = np.empty(len(sequence) * EVENT_BYTES_MAX, np.uint8)
    size = put_events(
        wire,
        _EVENTS_TAG,
        sequence.post_ids,
        sequence.author_ids,
        sequence.acted_at_ms.view(np.uint64),
        sequence.action_bits.astype(np.uint64) & _KNOWN_ACTIONS,
        sequence.dwell_seconds.view(np.uint32).astype(np.uint64),
        sequence.product_surface.astype(np.int64).view(np.uint64),
    )
    message = phoenix_pb2.UserActionSequence(user_id=query.viewer_id)
    message.MergeFromString(wire[:size].tobytes())
    return message


def product_surface(query: ScoredPostsQuery) -> actions_pb2.ProductSurface.ValueType:
    """The timeline that the request is for."""
    if query.in_network_only:
        return actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKED_FOLLOWING
    return actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKING
