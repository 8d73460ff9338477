"""A request's candidates as protobuf bytes, all at once: array operations, no object a post.

Every number is written in its longest form (ten bytes of seven bits for 64 bits, five for 32),
which any reader of protobuf takes, so that each candidate has as many bytes as the next and the
bytes are one array [C, 30]. `PredictNextActionsRequest.MergeFromString` reads them; what goes over
the wire is protobuf's own, short form again. For 2,200 candidates a tenth of the time that as
many message objects take. Glossary: C candidates.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service_kit.varints import write_varints

UINT32_MAX: Final = 2**32 - 1
_ID_BYTES, _MS_BYTES = 10, 5  # longest varints of uint64 and uint32
_POST_AT, _AUTHOR_AT, _VIDEO_AT = 3, 14, 25  # where each number begins; its tag is before it
_CANDIDATE_BYTES: Final = _VIDEO_AT + _MS_BYTES
# Tags: number of the field · 8 + kind of the value (2: bytes of a length, 0: varint).
_CANDIDATES_TAG, _POST_TAG, _AUTHOR_TAG, _VIDEO_TAG = 3 << 3 | 2, 1 << 3, 2 << 3, 3 << 3


def candidate_bytes(
    post_ids: NDArray[np.uint64], author_ids: NDArray[np.uint64], video_ms: NDArray[np.int64]
) -> bytes:
    """Field `candidates` of a PredictNextActionsRequest from columns [C].

    ValueError for a duration that its field cannot hold.
    """
    if len(video_ms) and not (video_ms.min() >= 0 and video_ms.max() <= UINT32_MAX):
        raise ValueError(
            f"video_duration_ms is {video_ms.min()} to {video_ms.max()}; 0 to {UINT32_MAX} fit"
        )
    wire = np.empty((len(post_ids), _CANDIDATE_BYTES), np.uint8)
    wire[:, 0], wire[:, 1] = _CANDIDATES_TAG, _CANDIDATE_BYTES - 2
    for tag, at, values, size in (
        (_POST_TAG, _POST_AT, post_ids, _ID_BYTES),
        (_AUTHOR_TAG, _AUTHOR_AT, author_ids, _ID_BYTES),
        (_VIDEO_TAG, _VIDEO_AT, video_ms.astype(np.uint64), _MS_BYTES),
    ):
        wire[:, at - 1] = tag
        write_varints(wire[:, at : at + size], values)
    return wire.tobytes()
