"""Answers as messages: one ScoredPost a row of the feed."""

from __future__ import annotations

from typing import Any

import numpy as np

from candidate_pipeline.result import PipelineResult
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import YES
from home_mixer.query import ScoredPostsQuery
from protos import home_mixer_pb2 as pb

_SHOWN = (
    "post_id",
    "author_id",
    "reposted_post_id",
    "reposted_user_id",
    "in_reply_to_post_id",
    "in_network",
    "served_type",
    "last_scored_at_ms",
    "prediction_request_id",
    "conversation_id",
    "author_screen_name",
    "reposted_screen_name",
    "visibility_reason",
)


def response_message(
    result: PipelineResult[ScoredPostsQuery], model_version: str
) -> pb.ScoredPostsResponse:
    """The feed of one request."""
    return pb.ScoredPostsResponse(
        scored_posts=scored_posts(result.selected),
        request_id=result.request_id,
        params_hash=result.query.params.params_hash,
        model_version=model_version,
        degraded_reasons=result.degraded_reasons,
    )


def scored_posts(feed: CandidateTable) -> list[pb.ScoredPost]:
    """Rows of the feed as messages, in order. A score that is not known is 0."""
    rows = {name: feed[name].tolist() for name in _SHOWN}
    scores = np.nan_to_num(feed["score"]).tolist()
    return [
        pb.ScoredPost(
            post_id=rows["post_id"][at],
            author_id=rows["author_id"][at],
            reposted_post_id=rows["reposted_post_id"][at],
            reposted_user_id=rows["reposted_user_id"][at],
            in_reply_to_post_id=rows["in_reply_to_post_id"][at],
            score=scores[at],
            in_network=rows["in_network"][at] == YES,
            served_type=rows["served_type"][at],
            last_scored_timestamp_ms=rows["last_scored_at_ms"][at],
            prediction_request_id=rows["prediction_request_id"][at],
            ancestors=ancestors(rows["in_reply_to_post_id"][at], rows["conversation_id"][at]),
            screen_names=_screen_names(rows, at),
            visibility_reason=rows["visibility_reason"][at] or None,
        )
        for at in range(len(feed))
    ]


def ancestors(parent: int, root: int) -> tuple[int, ...]:
    """Of a reply its parent, then the root of its thread where that is another post; else none."""
    if not parent:
        return ()
    return (parent, root) if root and root != parent else (parent,)


def _screen_names(rows: dict[str, list[Any]], at: int) -> dict[int, str]:
    """User id → name of the author and of a repost's original author, where known."""
    pairs = (
        (rows["author_id"][at], rows["author_screen_name"][at]),
        (rows["reposted_user_id"][at], rows["reposted_screen_name"][at]),
    )
    return {user_id: name for user_id, name in pairs if user_id and name}
