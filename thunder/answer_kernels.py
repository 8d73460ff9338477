"""Compiled writing of ``GetInNetworkPostsResponse``: protobuf's bytes straight from found rows.

What is written is what protobuf's own serializer gives for the same message: fields in the order
of their numbers, plain fields left out at zero, optional ids left out where the store has none.
A field's tag is its number · 8 + its wire type (protobuf encoding guide); every field of a post is
a varint. Positions are unsigned, which spares the check for negative ones at every byte.

Glossary: N posts, S slots of a set (a power of two above N).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder import id_map
from thunder.compiled import helper, kernel
from thunder.layout import REPLY, REPOST, VIDEO

U = np.uint64
# 8 ids or times of at most 10 bytes behind their tags, 3 booleans of 2, tag and length: 96. So a
# post's length is below 128 and takes one byte.
POST_BYTES_MAX: Final = 8 * 11 + 3 * 2 + 2
TAIL_BYTES_MAX: Final = 2 + 11  # partial, authors_scanned
MORE: Final = U(128)  # of a varint's byte: another one follows

# Tags of LightPost and of the response's own fields (protos/thunder.proto).
POST_ID: Final = 1 * 8
AUTHOR_ID: Final = 2 * 8
CREATED_AT_MS: Final = 3 * 8
IN_REPLY_TO_POST_ID: Final = 4 * 8
IN_REPLY_TO_USER_ID: Final = 5 * 8
IS_REPOST: Final = 6 * 8
IS_REPLY: Final = 7 * 8
SOURCE_POST_ID: Final = 8 * 8
SOURCE_USER_ID: Final = 9 * 8
HAS_VIDEO: Final = 10 * 8
CONVERSATION_ID: Final = 11 * 8
POSTS: Final = 1 * 8 + 2
PARTIAL: Final = 2 * 8
AUTHORS_SCANNED: Final = 3 * 8


@kernel
def write_answer(posts: Any, flags: Any, partial: Any, authors_scanned: Any, out: Any) -> Any:
    """Writes posts [N] ROW with flags [N] into ``out`` [≥ N · POST_BYTES_MAX + TAIL_BYTES_MAX]
    uint8 and returns how many bytes that took."""
    at = U(0)
    for i in range(posts.size):
        out[at] = POSTS
        end = put_post(out, at + U(2), posts[i], flags[i])
        out[at + U(1)] = np.uint8(end - at - U(2))
        at = end
    at = put_true(out, at, PARTIAL, partial)
    return put(out, at, AUTHORS_SCANNED, U(authors_scanned))


@helper
def put_post(out: Any, at: Any, post: Any, flags: Any) -> Any:
    at = put(out, at, POST_ID, post.post_id)
    at = put(out, at, AUTHOR_ID, post.author_id)
    at = put(out, at, CREATED_AT_MS, U(post.created_at_ms))  # a negative one takes 10 bytes
    at = put(out, at, IN_REPLY_TO_POST_ID, post.in_reply_to_post_id)
    at = put(out, at, IN_REPLY_TO_USER_ID, post.in_reply_to_user_id)
    at = put_true(out, at, IS_REPOST, flags & REPOST != 0)
    at = put_true(out, at, IS_REPLY, flags & REPLY != 0)
    at = put(out, at, SOURCE_POST_ID, post.source_post_id)
    at = put(out, at, SOURCE_USER_ID, post.source_user_id)
    at = put_true(out, at, HAS_VIDEO, flags & VIDEO != 0)
    return put(out, at, CONVERSATION_ID, post.conversation_id)


@helper
def put(out: Any, at: Any, tag: Any, value: Any) -> Any:
    """Writes a field unless it is 0; returns where the next one goes."""
    if value == 0:
        return at
    out[at] = tag
    at += U(1)
    while value >= MORE:
        out[at] = np.uint8(value | MORE)
        at += U(1)
        value >>= U(7)
    out[at] = np.uint8(value)
    return at + U(1)


@helper
def put_true(out: Any, at: Any, tag: Any, value: Any) -> Any:
    if not value:
        return at
    out[at] = tag
    out[at + U(1)] = 1
    return at + U(2)


@kernel
def count_authors_and_replies(posts: Any, flags: Any, slots: Any) -> Any:
    """Different authors, and replies, among posts [N] with flags [N]; ``slots`` [S] uint64 zeros
    are the set of authors (none is 0)."""
    authors = 0
    replies = 0
    for i in range(posts.size):
        replies += flags[i] & REPLY != 0
        author_id = posts[i].author_id
        slot = id_map.home(slots, author_id)
        while slots[slot] != 0 and slots[slot] != author_id:
            slot = (slot + 1) & (slots.size - 1)
        authors += slots[slot] == 0
        slots[slot] = author_id
    return authors, replies
