"""Posts of the accounts that the viewer follows, from thunder, newest first.

Where thunder's authors lie in several shares, all are asked at once with the whole list: its rules
look at everybody followed, and a reply is answered with by the share of the author replied to. The
merged answer is what one large thunder would say. A share that is away costs its posts, and the
degraded reasons name it. ``partial`` (thunder ran out of time) keeps what came and says so too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from candidate_pipeline.components import Source
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from home_mixer.clients.grpc_channel import call
from home_mixer.clients.thunder_answers import GetInNetworkPosts, InNetworkAnswer, decode_answer
from home_mixer.columns import SERVED_IN_NETWORK
from home_mixer.deadline import call_timeout_s
from home_mixer.query import ScoredPostsQuery
from home_mixer.query_hydrators.user_features_query_hydrator import FEATURES_UNKNOWN
from protos import thunder_pb2

FOLLOWED_MAX = 10_000  # thunder's limits
EXCLUDED_MAX = 10_000
# thunder's own cap of replies and reposts an author, held again over the shares' answers.
SECONDARY_PER_AUTHOR_MAX = 30

LightPost = thunder_pb2.LightPost


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
            "served_type",
        }
    )

    def __init__(
        self, shares: Sequence[GetInNetworkPosts], budget_ms: float, *, fail_closed: bool = True
    ) -> None:
        """``shares``: one method a share of thunder's authors, in the shares' order.
        ``fail_closed``: bring nothing for a viewer whose blocks and mutes are not known."""
        if not shares:
            raise ValueError("no share of thunder to ask: expected at least one")
        self._shares = tuple(shares)
        self.budget_ms = budget_ms
        self._fail_closed = fail_closed

    def enable(self, query: ScoredPostsQuery) -> bool:
        """Also for a viewer who follows nobody: it costs little, and an outage is always said."""
        return not self._fail_closed or query.user_features_age_ms != FEATURES_UNKNOWN

    async def fetch(self, query: ScoredPostsQuery) -> dict[str, AnyArray]:
        results = await asyncio.gather(*(self._ask(i, query) for i in range(len(self._shares))))
        answers = [result for result in results if not isinstance(result, Degraded)]
        reasons = [
            self._said_of(i, result.reason)
            for i, result in enumerate(results)
            if isinstance(result, Degraded)
        ]
        if not answers:
            raise Degraded(_joined(reasons))
        columns = light_post_columns(merged(answers, query.params.thunder_max_results))
        reasons += [self._said_of(i, "partial") for i, r in enumerate(results) if _partial(r)]
        if len(query.followed_user_ids) > FOLLOWED_MAX:
            reasons.append("followed_truncated")
        if reasons:
            raise Degraded(_joined(reasons), columns)
        return columns

    async def _ask(self, share: int, query: ScoredPostsQuery) -> InNetworkAnswer | Degraded:
        request = thunder_pb2.GetInNetworkPostsRequest(
            user_id=query.viewer_id,
            following_user_ids=query.followed_user_ids[:FOLLOWED_MAX].tolist(),
            max_results=query.params.thunder_max_results,
            exclude_post_ids=query.seen_ids[-EXCLUDED_MAX:].tolist(),  # newest: largest ids
            algorithm="default",
            share_index=share,
            share_count=len(self._shares),
        )
        timeout_s = call_timeout_s(self.budget_ms)
        try:
            message = await call(self._shares[share], request, timeout_s, query.request_id)
            return decode_answer(message)
        except Degraded as why:
            return why
        except DecodeError:
            return Degraded("malformed")

    def _said_of(self, share: int, reason: str) -> str:
        return reason if len(self._shares) == 1 else f"share_{share}_{reason}"


def merged(
    answers: Sequence[InNetworkAnswer],
    results_max: int,
    secondary_max: int = SECONDARY_PER_AUTHOR_MAX,
) -> NDArray[np.uint64]:
    """The shares' posts [F, N] as one thunder would answer: newest first, equal times by larger
    id, at most ``secondary_max`` replies and reposts an author and ``results_max`` in all (0: no
    limit).

    Exact: where a share's answer is cut at ``results_max``, what it leaves out is older than as
    many posts that stay.
    """
    if len(answers) == 1:
        return answers[0].posts
    posts = np.concatenate([answer.posts for answer in answers], axis=1)
    secondary = (posts[LightPost.IS_REPLY_FIELD_NUMBER] != 0) | (
        posts[LightPost.IS_REPOST_FIELD_NUMBER] != 0
    )
    order = np.lexsort((posts[LightPost.POST_ID_FIELD_NUMBER], _created_at_ms(posts)))[::-1]
    replies = order[secondary[order]]
    kept = np.ones(posts.shape[1], bool)
    authors = posts[LightPost.AUTHOR_ID_FIELD_NUMBER, replies]
    kept[replies[rank_in_group(authors) >= secondary_max]] = False
    return posts.take(order[kept[order]][: results_max or None], axis=1)


def rank_in_group(groups: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many of the same group come before each entry. ``groups`` and result: [N]."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    numbers = np.arange(groups.size)
    begins = np.append(True, ordered[1:] != ordered[:-1])[: groups.size]
    ranks = np.empty(groups.size, np.int64)
    ranks[order] = numbers - np.maximum.accumulate(np.where(begins, numbers, 0))
    return ranks


def light_post_columns(posts: NDArray[np.uint64]) -> dict[str, AnyArray]:
    """Columns of thunder's posts [F, N]; an unset id is 0."""
    return {
        "post_id": posts[LightPost.POST_ID_FIELD_NUMBER],
        "author_id": posts[LightPost.AUTHOR_ID_FIELD_NUMBER],
        "created_at_ms": _created_at_ms(posts),
        "in_reply_to_post_id": posts[LightPost.IN_REPLY_TO_POST_ID_FIELD_NUMBER],
        "in_reply_to_user_id": posts[LightPost.IN_REPLY_TO_USER_ID_FIELD_NUMBER],
        "conversation_id": posts[LightPost.CONVERSATION_ID_FIELD_NUMBER],
        "reposted_post_id": posts[LightPost.SOURCE_POST_ID_FIELD_NUMBER],
        "reposted_user_id": posts[LightPost.SOURCE_USER_ID_FIELD_NUMBER],
        "served_type": np.full(posts.shape[1], SERVED_IN_NETWORK, np.int8),
    }


def _created_at_ms(posts: NDArray[np.uint64]) -> NDArray[np.int64]:
    created_ms: NDArray[np.int64] = posts[LightPost.CREATED_AT_MS_FIELD_NUMBER].view(np.int64)
    return created_ms


def _partial(result: InNetworkAnswer | Degraded) -> bool:
    return not isinstance(result, Degraded) and result.partial


def _joined(reasons: Sequence[str]) -> str:
    return ",".join(reasons)
