"""Phoenix's request messages from a query: the viewer's sequence and the product surface."""

from __future__ import annotations

from typing import Final

from home_mixer.query import ScoredPostsQuery
from protos import actions_pb2, phoenix_pb2

_BITS: Final = tuple(
    (1 << number - 1, number) for number in actions_pb2.Action.values() if number > 0
)


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
