"""Reads KuaiRand-Pure (Gao et al., CIKM 2022) from a directory that the user gives.

    <dir>/*impressions*.parquet (or .csv), or log_standard*.csv    one row an impression
    <dir>/history*.parquet (or .csv)                               optional: older rows, order only
    <dir>/video_features_basic*.csv                                optional: authors of older videos

Ids are shifted by one, as 0 is padding here and a real id there. The set's eight actions take the
places of ours that come nearest; reports keep the set's names:
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from phoenix.data.impressions import Impressions

# name in reports → (column of the set, our action)
ACTIONS: dict[str, tuple[str, str]] = {
    "click": ("is_click", "click"),
    "long_view": ("long_view", "video_quality_view"),
    "like": ("is_like", "favorite"),
    "follow": ("is_follow", "follow_author"),
    "comment": ("is_comment", "reply"),
    "forward": ("is_forward", "share"),
    "hate": ("is_hate", "not_interested"),
    "profile_enter": ("is_profile_enter", "profile_click"),
}
OUR_ACTIONS = tuple(ours for _, ours in ACTIONS.values())
HISTORY_COLUMNS = {"long_view": "long_watch", "like": "is_like"}  # all that the older part knows
TABS_MAX = 15  # tab t becomes surface t + 1; surface 0 is the older part, which has no tab
MS_PER_DAY = 86_400_000
CHINA_OFFSET_MS = 8 * 3_600_000  # the set's dates are days of Asia/Shanghai

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Rows:
    """N impressions in the order of their file. `outcomes` lacks what the file does not say."""

    user_ids: NDArray[np.int64]  # as in the file
    video_ids: NDArray[np.int64]  # as in the file
    author_ids: NDArray[np.int64]  # shifted by one, 0: unknown
    time_ms: NDArray[np.int64]
    tab: NDArray[np.int64]
    outcomes: dict[str, NDArray[np.bool_]]  # by name in reports
    play_seconds: NDArray[np.float32]  # nan: the file does not say
    days: NDArray[np.int64]  # ascending numbers: `date` where given, else days of China

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, index: NDArray[np.bool_]) -> Rows:
        return Rows(
            self.user_ids[index],
            self.video_ids[index],
            self.author_ids[index],
            self.time_ms[index],
            self.tab[index],
            {name: column[index] for name, column in self.outcomes.items()},
            self.play_seconds[index],
            self.days[index],
        )

    def impressions(self, *, weight: float, in_history: bool, outcomes: bool = True) -> Impressions:
        """As our impressions; without `outcomes` neither labels nor play time are looked at."""
        labels = np.zeros((len(self), len(ACTIONS)), dtype=np.float32)
        seconds = np.full(len(self), np.nan, dtype=np.float32)
        if outcomes:
            seconds = self.play_seconds
            for index, name in enumerate(ACTIONS):
                labels[:, index] = self.outcomes[name]
        return Impressions(
            viewer_ids=self.user_ids + 1,
            post_ids=self.video_ids + 1,
            author_ids=self.author_ids,
            impressed_at_ms=self.time_ms,
            product_surface=np.where(self.tab < TABS_MAX, self.tab + 1, 0).astype(np.int8),
            labels=labels,
            dwell_seconds=seconds,
            action_names=OUR_ACTIONS,
            weight=np.full(len(self), weight, dtype=np.float32),
            in_history=np.full(len(self), in_history, dtype=np.bool_),
            known_at_ms=self.time_ms + (np.nan_to_num(seconds) * 1000).astype(np.int64),
        )


@dataclass(frozen=True, eq=False)
class KuaiRand:
    """A directory's impressions, its older part, and who made which video."""

    rows: Rows
    older: Impressions  # order only: times below 0, surface 0, actions long_view and like
    authors: dict[int, int]  # video id → author id + 1


def load(directory: Path) -> KuaiRand:
    """Read a directory; ValueError names the missing file or column."""
    if not directory.is_dir():
        raise ValueError(f"{directory} is no directory; expected one with KuaiRand-Pure's files")
    files = _files(directory, ("*impressions*.parquet", "*impressions*.csv", "log_standard*.csv"))
    if not files:
        raise ValueError(
            f"{directory} has no impressions: expected *impressions*.parquet, *impressions*.csv "
            "or log_standard*.csv"
        )
    tables = [_read(file) for file in files]
    authors = _authors(directory, tables)
    parts = [rows_of(t, f, authors, need_outcomes=True) for t, f in zip(tables, files, strict=True)]
    older = [
        _older_impressions(file, authors)
        for file in _files(directory, ("history*.parquet", "history*.csv"))
    ]
    return KuaiRand(
        _joined(parts), Impressions.concat([Impressions.empty(OUR_ACTIONS), *older]), authors
    )


def load_test(path: Path, authors: dict[int, int]) -> Rows:
    """Read a test file in KuaiRand's columns; outcomes may be left out of it."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; expected impressions in KuaiRand-Pure's columns")
    rows = rows_of(_read(path), path, authors, need_outcomes=False)
    if len(rows) == 0:
        raise ValueError(f"{path} holds no rows: there is nothing to predict")
    return rows


def rows_of(table: Columns, path: Path, authors: dict[int, int], *, need_outcomes: bool) -> Rows:
    """Check and convert one file's columns."""
    needed = ["user_id", "video_id", "time_ms", "tab"]
    if need_outcomes:
        needed += [column for column, _ in ACTIONS.values()]
    _require(table, needed, path)
    _require_numbers(table, [*needed, *(column for column, _ in ACTIONS.values())], path)
    videos = table["video_id"].astype(np.int64)
    if "author_id" in table:
        author_ids = table["author_id"].astype(np.int64) + 1
    else:
        author_ids = _lookup(authors, videos)
    outcomes = {n: table[c] > 0 for n, (c, _) in ACTIONS.items() if c in table}
    played = table.get("play_time_ms")
    seconds = np.full(len(videos), np.nan) if played is None else played / 1000.0
    return Rows(
        user_ids=table["user_id"].astype(np.int64),
        video_ids=videos,
        author_ids=author_ids,
        time_ms=table["time_ms"].astype(np.int64),
        tab=table["tab"].astype(np.int64),
        outcomes=outcomes,
        play_seconds=seconds.astype(np.float32),
        days=_days(table),
    )


def _days(table: Columns) -> NDArray[np.int64]:
    """The set's own date: `time_ms` runs up to an hour apart from it, so it cannot replace it."""
    if "date" in table:
        return table["date"].astype(np.int64)
    days: NDArray[np.int64] = (table["time_ms"].astype(np.int64) + CHINA_OFFSET_MS) // MS_PER_DAY
    return days


def _older_impressions(path: Path, authors: dict[int, int]) -> Impressions:
    """The older part: in order within a user, without times; times −(P − position)."""
    table = _read(path)
    _require(table, ["user_id", "pos", "video_id", *HISTORY_COLUMNS.values()], path)
    count = len(table["user_id"])
    labels = np.zeros((count, len(ACTIONS)), dtype=np.float32)
    known = np.zeros((count, len(ACTIONS)), dtype=np.bool_)
    for name, column in HISTORY_COLUMNS.items():
        labels[:, list(ACTIONS).index(name)] = table[column] > 0
        known[:, list(ACTIONS).index(name)] = True
    videos = table["video_id"].astype(np.int64)
    position = table["pos"].astype(np.int64)
    return Impressions(
        viewer_ids=table["user_id"].astype(np.int64) + 1,
        post_ids=videos + 1,
        author_ids=_lookup(authors, videos),
        impressed_at_ms=position - position.max(initial=0) - 1,
        product_surface=np.zeros(count, dtype=np.int8),
        labels=labels,
        dwell_seconds=np.full(count, np.nan, dtype=np.float32),
        action_names=OUR_ACTIONS,
        weight=np.ones(count, dtype=np.float32),
        labels_known=known,
    )


def _authors(directory: Path, tables: Sequence[Columns]) -> dict[int, int]:
    features = [_read(f) for f in _files(directory, ("video_features_basic*.csv",))]
    found: dict[int, int] = {}
    for table in [*features, *tables]:
        if "author_id" in table:
            pairs = zip(table["video_id"].tolist(), table["author_id"].tolist(), strict=True)
            found.update((int(video), int(author) + 1) for video, author in pairs)
    return found


def _lookup(authors: dict[int, int], videos: NDArray[np.int64]) -> NDArray[np.int64]:
    distinct, index = np.unique(videos, return_inverse=True)
    return np.array([authors.get(int(v), 0) for v in distinct], dtype=np.int64)[index]


def _files(directory: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of the first pattern that matches any."""
    matches = (sorted(directory.glob(pattern)) for pattern in patterns)
    return next((found for found in matches if found), [])


def _read(path: Path) -> Columns:
    try:
        table = pa_csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return {name: table[name].to_numpy() for name in table.column_names}


def _require(table: Columns, names: Sequence[str], path: Path) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; it has {sorted(table)}")


def _require_numbers(table: Columns, names: Sequence[str], path: Path) -> None:
    """An unknown outcome must not be counted as a refusal."""
    present = {name: table[name] for name in names if name in table}
    bad = [n for n, c in present.items() if c.dtype.kind not in "biuf" or not np.isfinite(c).all()]
    if bad:
        raise ValueError(
            f"{path} has values in {bad} that are missing or no numbers; leave such rows out, or "
            "the whole column where it is an outcome of rows to predict"
        )


def _joined(parts: Sequence[Rows]) -> Rows:
    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Rows(
        user_ids=joined("user_ids"),
        video_ids=joined("video_ids"),
        author_ids=joined("author_ids"),
        time_ms=joined("time_ms"),
        tab=joined("tab"),
        outcomes={n: np.concatenate([part.outcomes[n] for part in parts]) for n in ACTIONS},
        play_seconds=joined("play_seconds"),
        days=joined("days"),
    )
