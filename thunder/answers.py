"""From found rows to ``GetInNetworkPostsResponse``."""

from __future__ import annotations

from protos import thunder_pb2
from thunder.layout import REPLY, REPOST, VIDEO
from thunder.store import Found


def encode_answer(found: Found) -> thunder_pb2.GetInNetworkPostsResponse:
    """The answer, newest first; ids that are 0 in the store are left unset."""
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
    return answer
