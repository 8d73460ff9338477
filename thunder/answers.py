"""From found rows to the bytes of a ``GetInNetworkPostsResponse``, without an object a post.

Message objects were four fifths of an answer's time (docs/decisions.md); any client still reads
plain protobuf.
"""

from __future__ import annotations

import numpy as np

from thunder.answer_kernels import (
    POST_BYTES_MAX,
    TAIL_BYTES_MAX,
    count_authors_and_replies,
    write_answer,
)
from thunder.store import Found


def encode_answer(found: Found) -> bytes:
    """The answer, newest first; ids that are 0 in the store are left unset."""
    out = np.empty(found.posts.size * POST_BYTES_MAX + TAIL_BYTES_MAX, np.uint8)
    partial, scanned = bool(found.partial), int(found.authors_scanned)
    size = write_answer(found.posts, found.flags, partial, scanned, out)
    return out[:size].tobytes()


def authors_and_replies(found: Found) -> tuple[int, int]:
    """How many authors the found posts are by, and how many of the posts are replies."""
    slots = np.zeros(1 << (2 * found.posts.size).bit_length(), np.uint64)
    authors, replies = count_authors_and_replies(found.posts, found.flags, slots)
    return authors, replies
