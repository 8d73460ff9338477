"""Compiled writing of the compact topic's creates, without a Python object an event.

The bytes are those that the generated classes write: fields in the order of their numbers, and none
that is 0. Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder.answer_kernels import U, put, put_true
from thunder.compiled import helper, kernel
from thunder.event_kernels import BYTES, CREATE, FIXED64
from thunder.layout import VIDEO

# Event's tag and length; seven ids with a tag each; the time's tag and varint; the video.
CREATE_BYTES_MAX: Final = 2 + 7 * 9 + 11 + 2  # so a length fits one byte


@kernel
def write_creates(posts: Any, flags: Any, out: Any, ends: Any) -> Any:
    """Writes an InNetworkEvent of each of posts [n] ROW with flags [n] into out, which has
    CREATE_BYTES_MAX for each; event i ends at ends [n]. Returns their bytes in all."""
    at = U(0)
    for i in range(posts.size):
        post, begin = posts[i], at + U(2)
        out[at] = CREATE << 3 | BYTES
        at = put_id(out, begin, 1, post.post_id)
        at = put_id(out, at, 2, post.author_id)
        at = put(out, at, 3 << 3, U(post.created_at_ms))
        at = put_id(out, at, 4, post.in_reply_to_post_id)
        at = put_id(out, at, 5, post.in_reply_to_user_id)
        at = put_id(out, at, 6, post.source_post_id)
        at = put_id(out, at, 7, post.source_user_id)
        at = put_id(out, at, 8, post.conversation_id)
        at = put_true(out, at, 9 << 3, flags[i] & VIDEO != 0)
        out[begin - U(1)] = np.uint8(at - begin)
        ends[i] = at
    return at


@helper
def put_id(out: Any, at: Any, number: Any, value: Any) -> Any:
    """As `put`, for a fixed64."""
    if value == 0:
        return at
    out[at] = number << 3 | FIXED64
    for i in range(8):
        out[at + U(1 + i)] = np.uint8((value >> U(8 * i)) & U(0xFF))
    return at + U(9)
