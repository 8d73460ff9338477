"""Co-occurrence: videos that the same viewers viewed long, counted and not trained.

    score(u, v) = Σ_j DECAY^rank(j) · n(j, v) / ((n(j) + PRIOR) (n(v) + PRIOR))^POWER

over the newest long views j ≠ v of user u before the row, rank 0 the newest, with n(j, v) the
viewers of both and n(j) those of j. The score orders; it is no probability of anything.

V videos, U users.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from phoenix.evaluation.baselines.examples import Task
from phoenix.evaluation.baselines.statistics import key_index

# Chosen on 27 April 2022 (primary .4873; .4740 to .4879 over decays .8 to 1 and powers 0 to .75).
DECAY, POWER, EVENTS_MAX = 0.9, 0.5, 50
PRIOR = 5.0  # viewers: a video seen twice together with another is no proof


def scores(task: Task, action: int) -> NDArray[np.float64]:
    """A score of each asked row, from the known rows where the action happened."""
    known, asked = task.known, task.asked
    count = len(known)
    videos = key_index(np.concatenate([known.video_ids, asked.video_ids]))
    users = key_index(np.concatenate([known.user_ids, asked.user_ids]))
    happened = np.flatnonzero(known.labels[:, action] == 1)
    together = normalised_counts(
        users[happened], videos[happened], int(users.max(initial=-1)) + 1,
        int(videos.max(initial=-1)) + 1,
    )  # fmt: skip
    order = np.lexsort((known.order[happened], known.day[happened], users[happened]))
    events = happened[order]
    user = users[events]
    end = np.searchsorted(user, users[count:], side="right")
    start = np.searchsorted(user, users[count:], side="left")
    found = np.zeros(len(asked))
    for rank in range(EVENTS_MAX):
        at = np.flatnonzero(end - 1 - rank >= start)
        event = videos[events[end[at] - 1 - rank]]
        found[at] += DECAY**rank * together[event, videos[count:][at]]
    return found


def normalised_counts(
    users: NDArray[np.int64], videos: NDArray[np.int64], user_count: int, video_count: int
) -> NDArray[np.float32]:
    """[V, V] of pairs (user, video) that may repeat; 0 on the diagonal."""
    pairs = np.unique(users * max(video_count, 1) + videos)
    user, video = pairs // max(video_count, 1), pairs % max(video_count, 1)
    starts = np.searchsorted(user, np.arange(user_count + 1))
    together = np.zeros((video_count, video_count), dtype=np.float32)
    _count(starts, video, together)
    viewers = (together.diagonal() + PRIOR) ** POWER
    np.fill_diagonal(together, 0.0)
    together /= np.outer(viewers, viewers).astype(np.float32)
    return together


@numba.njit(nogil=True, cache=True)
def _count(
    starts: NDArray[np.int64], videos: NDArray[np.int64], together: NDArray[np.float32]
) -> None:
    """Adds one to `together` for each two videos of one user, and each with itself."""
    for user in range(len(starts) - 1):
        for one in range(starts[user], starts[user + 1]):
            for other in range(starts[user], starts[user + 1]):
                together[videos[one], videos[other]] += np.float32(1.0)
