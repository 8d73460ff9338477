"""Who interacted with whom and when: of the Higgs data set, or made up in its shape.

The data set (De Domenico et al., Scientific Reports 3:2980, 2013; SNAP "higgs-activity_time") has
a line `A B unix_time RT|RE|MT` for each repost, reply or mention of B by A in the week in which
the boson was announced, 1 to 7 July 2012.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REPOST, REPLY, MENTION = 0, 1, 2
KINDS = {b"RT": REPOST, b"RE": REPLY, b"MT": MENTION}
DAY_S = 86_400
FIRST_DAY_S = 1_341_100_800  # 1 July 2012 00:00 UTC
REPLAY_FROM_S = FIRST_DAY_S + 3 * DAY_S  # before: only the follow graph is derived
ANNOUNCED_S = REPLAY_FROM_S + 8 * 3600  # the seminar of 4 July; the synthetic burst's peak
KIND_SHARES = (0.63, 0.066, 0.304)  # of the data set's 563,069 lines
TARGET_EXPONENT = 1.6  # of the Zipf law by which few are reposted by many
ANSWERED_SHARE = 0.3  # of the lines, to somebody who has just acted: conversations
EARLY_SHARE = 0.1  # of the lines before 4 July, as in the data set


class Interactions(NamedTuple):
    """Columns [N] by time: actor and target ids from 1, Unix seconds, kind."""

    actor: NDArray[np.int64]
    target: NDArray[np.int64]
    at_s: NDArray[np.int64]
    kind: NDArray[np.int8]

    def where(self, mask: NDArray[np.bool_]) -> Interactions:
        """The rows [N] that ``mask`` [N] marks."""
        return Interactions(self.actor[mask], self.target[mask], self.at_s[mask], self.kind[mask])


def read_higgs(path: Path) -> Interactions:
    """The whole file, by time. ValueError names a line that is not of the data set."""
    rows: list[tuple[int, int, int, int]] = []
    with gzip.open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                actor, target, at_s, kind = line.split()
                rows.append((int(actor), int(target), int(at_s), KINDS[kind]))
            except (ValueError, KeyError) as error:
                raise ValueError(
                    f"{path}:{number}: got {line[:80]!r}, expected `A B unix_time RT|RE|MT`"
                ) from error
    return _by_time(np.array(rows, np.int64).reshape(-1, 4))


def synthetic(count: int, seed: int) -> Interactions:
    """``count`` interactions with the data set's shape: Zipf targets, a day's rhythm, one burst."""
    rng = np.random.default_rng(seed)
    users = max(50, count // 3)
    target = np.minimum(rng.zipf(TARGET_EXPONENT, count), users)
    actor = rng.integers(1, users + 1, count)
    early = rng.random(count) < EARLY_SHARE
    burst = np.abs(rng.normal(0, 4 * 3600, count)) + ANNOUNCED_S
    calm = rng.uniform(REPLAY_FROM_S, FIRST_DAY_S + 7 * DAY_S, count)
    late = np.where(rng.random(count) < 0.6, burst, calm)
    at_s = np.where(early, rng.uniform(FIRST_DAY_S, REPLAY_FROM_S, count), late).astype(np.int64)
    kind = rng.choice(3, count, p=KIND_SHARES)
    rows = _by_time(np.stack([actor, target, at_s, kind], axis=1))
    answered = np.flatnonzero(rng.random(count) < ANSWERED_SHARE)
    before = np.maximum(0, answered - rng.integers(1, 10, answered.size))
    rows.target[answered] = rows.actor[before]
    return rows


def _by_time(rows: NDArray[np.int64]) -> Interactions:
    rows = rows[np.argsort(rows[:, 2], kind="stable")]
    return Interactions(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3].astype(np.int8))
