"""From ``GetInNetworkPostsRequest`` to a store query; everything wrong is said, nothing truncated.

Deviation: the original cuts lists to their first 10,000 entries with a warning in its log, so the
caller never learns that authors are missing; here the request is refused.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protos import thunder_pb2
from thunder.query_scratch import INPUT_LIST_MAX, RESULTS_MAX
from thunder.shares import Share
from thunder.store import (
    ORIGINALS_PER_AUTHOR_MAX,
    SECONDARY_PER_AUTHOR_MAX,
    VIDEOS_PER_AUTHOR_MAX,
    Query,
)

POSTS_TO_RETURN: Final = 1_200  # x-algorithm, MAX_POSTS_TO_RETURN: where max_results is 0
VIDEOS_TO_RETURN: Final = 600  # x-algorithm, MAX_VIDEOS_TO_RETURN
ALGORITHMS: Final = ("", "default", "recent", "latest")  # one behaviour: newest first


class BadRequestError(ValueError):
    """INVALID_ARGUMENT: names the field, what came and what was expected."""


class OtherShareError(ValueError):
    """FAILED_PRECONDITION: the caller means another replica; names both shares."""


def check_share(request: thunder_pb2.GetInNetworkPostsRequest, share: Share) -> None:
    """Raises OtherShareError where the request names a share that this replica does not hold."""
    if not request.HasField("share_count") and not request.HasField("share_index"):
        return
    asked = Share(request.share_index, request.share_count)
    if asked != share:
        raise OtherShareError(
            f"the request is for share {asked} of the authors and this replica holds {share}: "
            "give home_mixer's thunder_address one target a share, in their order"
        )


def parse_request(request: thunder_pb2.GetInNetworkPostsRequest) -> Query:
    """Raises BadRequestError."""
    _check_list("following_user_ids", len(request.following_user_ids))
    _check_list("exclude_post_ids", len(request.exclude_post_ids))
    if request.max_results > RESULTS_MAX:
        raise BadRequestError(
            f"max_results is {request.max_results}: at most {RESULTS_MAX}; 0 asks for the default"
        )
    if request.algorithm not in ALGORITHMS:
        names = ", ".join(repr(name) for name in ALGORITHMS)
        raise BadRequestError(f"algorithm is {request.algorithm[:40]!r}: expected one of {names}")
    videos = request.is_video_request
    posts_max, secondary_max = _limits(request.per_author_limits)
    return Query(
        viewer_id=request.user_id,
        following_ids=np.array(request.following_user_ids, np.uint64),
        excluded_ids=np.array(request.exclude_post_ids, np.uint64),
        results_max=request.max_results or (VIDEOS_TO_RETURN if videos else POSTS_TO_RETURN),
        videos=videos,
        originals_per_author_max=min(posts_max, ORIGINALS_PER_AUTHOR_MAX),
        secondary_per_author_max=min(secondary_max, SECONDARY_PER_AUTHOR_MAX),
        videos_per_author_max=min(posts_max, VIDEOS_PER_AUTHOR_MAX),
    )


def _check_list(field: str, size: int) -> None:
    if size > INPUT_LIST_MAX:
        raise BadRequestError(
            f"{field} has {size} entries: at most {INPUT_LIST_MAX}; send the most recent ones"
        )


def _limits(limits: thunder_pb2.PerAuthorLimits) -> tuple[int, int]:
    """Per-author maxima asked for; the caps where unset."""
    posts = limits.max_posts_per_author if limits.HasField("max_posts_per_author") else None
    secondary = (
        limits.max_replies_reposts_per_author
        if limits.HasField("max_replies_reposts_per_author")
        else None
    )
    return (
        VIDEOS_PER_AUTHOR_MAX if posts is None else posts,
        SECONDARY_PER_AUTHOR_MAX if secondary is None else secondary,
    )
