"""A request's candidates as protobuf's own bytes, all at once: no object a post.

They are the end of a PredictNextActionsRequest on the wire: a message's bytes behind another's are
both merged. For 2,200 candidates a hundredth of the time that as many message objects take.
Glossary: C candidates.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.wire_kernels import CANDIDATE_BYTES_MAX, put_candidates
from protos import phoenix_pb2

UINT32_MAX: Final = 2**32 - 1
_TAG: Final = phoenix_pb2.PredictNextActionsRequest.CANDIDATES_FIELD_NUMBER << 3 | 2


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
    wire = np.empty(len(post_ids) * CANDIDATE_BYTES_MAX, np.uint8)
    return wire[: put_candidates(wire, _TAG, post_ids, author_ids, video_ms)].tobytes()
