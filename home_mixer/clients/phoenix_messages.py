"""Phoenix's request messages from a query: the viewer's sequence and the product surface."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from home_mixer.query import ScoredPostsQuery
from protos import actions_pb2, phoenix_pb2

SEQUENCES_REMEMBERED: Final = 64  # more than feeds that run at once; 50 kB each

_BITS: Final = tuple(
    (1 << number - 1, number) for number in actions_pb2.Action.values() if number > 0
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
    numbers: dict[int, list[actions_pb2.Action.ValueType]] = {}
    actions = []
    for post_id, author_id, acted_at_ms, bits, seconds, surface in zip(
        sequence.post_ids.tolist(),
        sequence.author_ids.tolist(),
        sequence.acted_at_ms.tolist(),
        sequence.action_bits.tolist(),
        sequence.dwell_seconds.tolist(),
        sequence.product_surface.tolist(),
        strict=True,
    ):
        if bits not in numbers:
            numbers[bits] = [n for bit, n in _BITS if bits & bit]
        actions.append(
            phoenix_pb2.AggregatedAction(
                post_id=post_id,
                author_id=author_id,
                acted_at_ms=acted_at_ms,
                actions=numbers[bits],
                dwell_seconds=seconds,
                product_surface=surface,
            )
        )
    return phoenix_pb2.UserActionSequence(user_id=query.viewer_id, actions=actions)


def product_surface(query: ScoredPostsQuery) -> actions_pb2.ProductSurface.ValueType:
    """The timeline that the request is for."""
    if query.in_network_only:
        return actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKED_FOLLOWING
    return actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKING
