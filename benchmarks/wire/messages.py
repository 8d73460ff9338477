"""The peer of thunder's answers: one protobuf message object a post, on both sides of the wire."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.store.object_store import LightPost
from home_mixer.columns import SERVED_IN_NETWORK
from protos import thunder_pb2
from thunder.layout import REPLY, REPOST, VIDEO
from thunder.store import Found


def encode_with_objects(found: Found) -> bytes:
    """The answer's bytes from N message objects."""
    answer = thunder_pb2.GetInNetworkPostsResponse(
        partial=found.partial, authors_scanned=found.authors_scanned
    )
    add = answer.posts.add
    for row, flags in zip(found.posts.tolist(), found.flags.tolist(), strict=True):
        post_id, author_id, created_at_ms, parent, parent_user, source, source_user, root = row
        add(
            post_id=post_id,
            author_id=author_id,
            created_at_ms=created_at_ms,
            in_reply_to_post_id=parent or None,
            in_reply_to_user_id=parent_user or None,
            is_repost=flags & REPOST != 0,
            is_reply=flags & REPLY != 0,
            source_post_id=source or None,
            source_user_id=source_user or None,
            has_video=flags & VIDEO != 0,
            conversation_id=root or None,
        )
    return answer.SerializeToString()


def encode_objects(posts: Sequence[LightPost], authors_scanned: int) -> bytes:
    """The answer's bytes of posts that are Python objects."""
    answer = thunder_pb2.GetInNetworkPostsResponse(authors_scanned=authors_scanned)
    for post in posts:
        answer.posts.add(
            post_id=post.post_id,
            author_id=post.author_id,
            created_at_ms=post.created_at_ms,
            in_reply_to_post_id=post.in_reply_to_post_id or None,
            in_reply_to_user_id=post.in_reply_to_user_id or None,
            is_repost=post.is_repost,
            is_reply=post.is_reply,
            source_post_id=post.source_post_id or None,
            source_user_id=post.source_user_id or None,
            has_video=post.has_video,
            conversation_id=post.conversation_id or None,
        )
    return answer.SerializeToString()


def columns_with_objects(message: bytes) -> dict[str, NDArray[np.generic]]:
    """The candidates' columns [N] from N message objects."""
    posts = thunder_pb2.GetInNetworkPostsResponse.FromString(message).posts
    return {
        "post_id": np.array([post.post_id for post in posts], np.uint64),
        "author_id": np.array([post.author_id for post in posts], np.uint64),
        "created_at_ms": np.array([post.created_at_ms for post in posts], np.int64),
        "in_reply_to_post_id": np.array([post.in_reply_to_post_id for post in posts], np.uint64),
        "in_reply_to_user_id": np.array([post.in_reply_to_user_id for post in posts], np.uint64),
        "conversation_id": np.array([post.conversation_id for post in posts], np.uint64),
        "reposted_post_id": np.array([post.source_post_id for post in posts], np.uint64),
        "reposted_user_id": np.array([post.source_user_id for post in posts], np.uint64),
        "served_type": np.full(len(posts), SERVED_IN_NETWORK, np.int8),
    }
