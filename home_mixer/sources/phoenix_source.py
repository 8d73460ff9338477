"""Posts of accounts that the viewer may not know, from phoenix's retrieval.

Left out by retrieval itself, so that they do not use up its results: what the viewer saw, was
served or acted on, own posts, posts of blocked and muted accounts, and posts too old to be shown.
Deviation: the original leaves seen posts to the filters. A viewer without history gets a feed too.
"""

from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError

from candidate_pipeline.components import Source
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from home_mixer.clients.grpc_channel import call
from home_mixer.clients.phoenix_messages import Retrieve, SequenceMessages, retrieved_ids
from home_mixer.columns import SERVED_PHOENIX_RETRIEVAL
from home_mixer.deadline import call_timeout_s
from home_mixer.id_sets import union
from home_mixer.query import ScoredPostsQuery
from home_mixer.query_hydrators.user_features_query_hydrator import FEATURES_UNKNOWN
from protos import phoenix_pb2

EXCLUDED_MAX = 100_000  # retrieval's limit, of posts and of authors


class PhoenixSource(Source[ScoredPostsQuery]):
    writes = frozenset({"post_id", "author_id", "served_type"})

    def __init__(
        self,
        method: Retrieve,
        budget_ms: float,
        sequences: SequenceMessages | None = None,
        *,
        fail_closed: bool = True,
    ) -> None:
        """``sequences``: shared with the ranker's scorer, which asks for the same viewer next.

        ``fail_closed``: bring nothing for a viewer whose blocks and mutes are not known.
        """
        self._method = method
        self._sequences = sequences or SequenceMessages()
        self.budget_ms = budget_ms
        self._fail_closed = fail_closed

    def enable(self, query: ScoredPostsQuery) -> bool:
        known = not self._fail_closed or query.user_features_age_ms != FEATURES_UNKNOWN
        return known and not query.in_network_only

    async def fetch(self, query: ScoredPostsQuery) -> dict[str, AnyArray]:
        message = await call(
            self._method,
            retrieve_request(query, self._sequences),
            call_timeout_s(self.budget_ms),
            query.request_id,
        )
        try:
            post_ids, author_ids = retrieved_ids(message)
        except DecodeError as error:
            raise Degraded("malformed") from error
        return {
            "post_id": post_ids,
            "author_id": author_ids,
            "served_type": np.full(len(post_ids), SERVED_PHOENIX_RETRIEVAL, np.int8),
        }


def retrieve_request(
    query: ScoredPostsQuery, sequences: SequenceMessages
) -> phoenix_pb2.RetrieveRequest:
    """What is asked of retrieval."""
    params = query.params
    not_again = union(query.seen_ids, union(query.served_ids, query.served_history_ids))
    unwanted = union(query.blocked_user_ids, query.muted_user_ids)
    return phoenix_pb2.RetrieveRequest(
        request_id=query.request_id,
        sequence=sequences.of(query, params.retrieval_sequence_length),
        max_results=params.phoenix_max_results,
        exclude_post_ids=not_again[-EXCLUDED_MAX:].tolist(),  # newest: largest ids
        exclude_author_ids=unwanted[:EXCLUDED_MAX].tolist(),
        exclude_history=True,
        exclude_own=True,
        posts_after_ms=max(query.now_ms - params.max_post_age_seconds * 1000 - 1, 0),
        now_ms=query.now_ms,
    )
