"""Compiled writing of the compact topic's creates, without a Python object an event.

The bytes are those that the generated classes write: fields in the order of their numbers, and none
that is 0. Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder.compiled import helper, kernel
from thunder.event_kernels import BYTES, CREATE, FIXED64, VARINT
from thunder.layout import VIDEO

# Event's tag and length; seven ids with a tag each; the time's tag and varint; the video.
CREATE_BYTES_MAX: Final = 2 + 7 * 9 + 11 + 2  # so a length fits one byte


@kernel
def write_creates(posts: Any, flags: Any, out: Any, ends: Any) -> Any:
    """Writes an InNetworkEvent of each of posts [n] ROW with flags [n] into out, which has
    CREATE_BYTES_MAX for each; event i ends at ends [n]. Returns their bytes in all."""
    at = 0
    for i in range(posts.size):
        post = posts[i]
        length = at + 1
        out[at] = CREATE << 3 | BYTES
        at += 2
        at = write_id(out, at, 1, post.post_id)
        at = write_id(out, at, 2, post.author_id)
        at = write_varint(out, at, 3, np.uint64(post.created_at_ms))
        at = write_id(out, at, 4, post.in_reply_to_post_id)
        at = write_id(out, at, 5, post.in_reply_to_user_id)
        at = write_id(out, at, 6, post.source_post_id)
        at = write_id(out, at, 7, post.source_user_id)
        at = write_id(out, at, 8, post.conversation_id)
        at = write_varint(out, at, 9, np.uint64(1 if flags[i] & VIDEO else 0))
        out[length] = at - length - 1
        ends[i] = at
    return at


@helper
def write_id(out: Any, at: Any, number: Any, value: Any) -> Any:
    if value == 0:
        return at
    out[at] = number << 3 | FIXED64
    for i in range(8):
        out[at + 1 + i] = np.uint8((value >> np.uint64(8 * i)) & np.uint64(0xFF))
    return at + 9


@helper
def write_varint(out: Any, at: Any, number: Any, value: Any) -> Any:
    if value == 0:
        return at
    out[at] = number << 3 | VARINT
    at += 1
    while value > np.uint64(0x7F):
        out[at] = np.uint8(value & np.uint64(0x7F)) | np.uint8(0x80)
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1
