"""Posts of the accounts that the viewer follows, from thunder, newest first.

``partial`` (thunder ran out of time) keeps what came and says so among the degraded reasons.
Ancestors of a reply are its parent, then the root of its thread where that is another post.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from candidate_pipeline.components import Source
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from home_mixer.clients.grpc_channel import Method, call
from home_mixer.columns import SERVED_IN_NETWORK
from home_mixer.deadline import call_timeout_s
from home_mixer.query import ScoredPostsQuery
from home_mixer.query_hydrators.user_features_query_hydrator import FEATURES_UNKNOWN
from home_mixer.sources.ancestors import ancestors_column
from protos import thunder_pb2

FOLLOWED_MAX = 10_000  # thunder's limits
EXCLUDED_MAX = 10_000

GetInNetworkPosts = Method[
    thunder_pb2.GetInNetworkPostsRequest, thunder_pb2.GetInNetworkPostsResponse
]


class ThunderSource(Source[ScoredPostsQuery]):
    writes = frozenset(
        {
            "post_id",
            "author_id",
            "created_at_ms",
            "in_reply_to_post_id",
            "in_reply_to_user_id",
            "conversation_id",
            "reposted_post_id",
            "reposted_user_id",
            "ancestors",
            "served_type",
        }
    )

    def __init__(
        self, method: GetInNetworkPosts, budget_ms: float, *, fail_closed: bool = True
    ) -> None:
        """``fail_closed``: bring nothing for a viewer whose blocks and mutes are not known."""
        self._method = method
        self.budget_ms = budget_ms
        self._fail_closed = fail_closed

    def enable(self, query: ScoredPostsQuery) -> bool:
        """Also for a viewer who follows nobody: it costs little, and an outage is always said."""
        return not self._fail_closed or query.user_features_age_ms != FEATURES_UNKNOWN

    async def fetch(self, query: ScoredPostsQuery) -> dict[str, AnyArray]:
        request = thunder_pb2.GetInNetworkPostsRequest(
            user_id=query.viewer_id,
            following_user_ids=query.followed_user_ids[:FOLLOWED_MAX].tolist(),
            max_results=query.params.thunder_max_results,
            exclude_post_ids=query.seen_ids[-EXCLUDED_MAX:].tolist(),  # newest: largest ids
            algorithm="default",
        )
        timeout_s = call_timeout_s(self.budget_ms)
        response = await call(self._method, request, timeout_s, query.request_id)
        columns = light_post_columns(response.posts)
        if response.partial:
            raise Degraded("partial", columns)
        if len(query.followed_user_ids) > FOLLOWED_MAX:
            raise Degraded("followed_truncated", columns)
        return columns


def light_post_columns(posts: Sequence[thunder_pb2.LightPost]) -> dict[str, AnyArray]:
    """Columns of thunder's posts; an unset id is 0."""
    replies = np.array([post.in_reply_to_post_id for post in posts], np.uint64)
    conversations = np.array([post.conversation_id for post in posts], np.uint64)
    return {
        "post_id": np.array([post.post_id for post in posts], np.uint64),
        "author_id": np.array([post.author_id for post in posts], np.uint64),
        "created_at_ms": np.array([post.created_at_ms for post in posts], np.int64),
        "in_reply_to_post_id": replies,
        "in_reply_to_user_id": np.array([post.in_reply_to_user_id for post in posts], np.uint64),
        "conversation_id": conversations,
        "reposted_post_id": np.array([post.source_post_id for post in posts], np.uint64),
        "reposted_user_id": np.array([post.source_user_id for post in posts], np.uint64),
        "ancestors": ancestors_column(replies, conversations),
        "served_type": np.full(len(posts), SERVED_IN_NETWORK, np.int8),
    }
