"""Rows as the baselines read them: ids, context, and outcomes that may be unknown.

N rows, A actions. Day 0 is the older part, whose rows have no time, tab or hour; the days of the
log are 1, 2, … and all rows to predict stand on the day after the last. A baseline may learn from
a row what it says, and for a row of day d use only outcomes of days before d.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoenix.data.impressions import Impressions
from phoenix.evaluation.kuairand_data import (
    ACTIONS,
    CHINA_OFFSET_MS,
    HISTORY_COLUMNS,
    Rows,
)
from phoenix.evaluation.kuairand_statics import Statics, padded

MS_PER_HOUR = 3_600_000
MS_PER_DAY = 24 * MS_PER_HOUR


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows in the order that they were given; ids as in the data set."""

    user_ids: NDArray[np.int64]  # [N]
    video_ids: NDArray[np.int64]  # [N]
    author_ids: NDArray[np.int64]  # [N], 0: unknown
    tags: NDArray[np.int64]  # [N, 2], 0: none
    tab: NDArray[np.int64]  # [N], -1: unknown
    hour: NDArray[np.int64]  # [N], of the day, -1: unknown
    day: NDArray[np.int64]  # [N], see above
    order: NDArray[np.int64]  # [N], time in ms, or below 0 for what is older
    duration_seconds: NDArray[np.float64]  # [N], nan: unknown
    age_days: NDArray[np.float64]  # [N], since the upload, nan: unknown
    user_features: NDArray[np.float64]  # [N, F], nan: unknown
    labels: NDArray[np.float64]  # [N, A], nan: unknown

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> Examples:
        return Examples(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    def without_labels(self, rows: NDArray[np.bool_]) -> Examples:
        """The same with the outcomes of some rows unknown."""
        labels = self.labels.copy()
        labels[rows] = np.nan
        return replace(self, labels=labels)

    @staticmethod
    def concat(parts: list[Examples]) -> Examples:
        """Rows of all parts, one after the other."""
        names = Examples.__dataclass_fields__
        return Examples(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


@dataclass(frozen=True, eq=False)
class Task:
    """What a baseline is given: rows with outcomes, and rows to predict, whose outcomes are nan."""

    known: Examples
    asked: Examples

    @property
    def last_day(self) -> int:
        return int(self.known.day.max(initial=0))

    def on_last_day(self) -> Task:
        """The same question a day earlier: the last known day is asked, its outcomes hidden."""
        last = self.known.day == self.last_day
        asked = self.known.take(last)
        return Task(self.known.take(~last), asked.without_labels(np.ones(len(asked), np.bool_)))


def make_task(train: Rows, older: Impressions, test: Rows, statics: Statics) -> Task:
    """The evaluation's rows; nothing of the test rows' outcomes is looked at."""
    days, day = np.unique(train.days, return_inverse=True)
    recent = _of_rows(train, day + 1, statics)
    labels = np.stack([train.outcomes[name] for name in ACTIONS], axis=1).astype(np.float64)
    recent = replace(recent, labels=labels)
    asked = _of_rows(test, np.full(len(test), len(days) + 1), statics)
    return Task(Examples.concat([_of_older(older, statics), recent]), asked)


def _of_rows(rows: Rows, day: NDArray[np.int64], statics: Statics) -> Examples:
    hour = (rows.time_ms + CHINA_OFFSET_MS) // MS_PER_HOUR % 24
    at = statics.videos(rows.video_ids)
    return Examples(
        user_ids=rows.user_ids,
        video_ids=rows.video_ids,
        author_ids=rows.author_ids,
        tags=padded(statics.tags, at),
        tab=rows.tab,
        hour=hour,
        day=day.astype(np.int64),
        order=rows.time_ms,
        duration_seconds=padded(statics.duration_seconds, at),
        age_days=(rows.time_ms - padded(statics.uploaded_at_ms, at)) / MS_PER_DAY,
        user_features=padded(statics.user_features, statics.users(rows.user_ids)),
        labels=np.full((len(rows), len(ACTIONS)), np.nan),
    )


def _of_older(older: Impressions, statics: Statics) -> Examples:
    count = len(older)
    labels = np.full((count, len(ACTIONS)), np.nan)
    for index, name in enumerate(ACTIONS):
        if name in HISTORY_COLUMNS:
            labels[:, index] = older.labels[:, index]
    videos, users = older.post_ids - 1, older.viewer_ids - 1
    at = statics.videos(videos)
    unknown = np.full(count, -1, dtype=np.int64)
    return Examples(
        user_ids=users,
        video_ids=videos,
        author_ids=older.author_ids,
        tags=padded(statics.tags, at),
        tab=unknown,
        hour=unknown,
        day=np.zeros(count, dtype=np.int64),
        order=older.impressed_at_ms,
        duration_seconds=padded(statics.duration_seconds, at),
        age_days=np.full(count, np.nan),
        user_features=padded(statics.user_features, statics.users(users)),
        labels=labels,
    )
