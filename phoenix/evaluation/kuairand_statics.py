"""What KuaiRand-Pure says of its videos and users apart from the impressions.

Static columns only, so nothing here can tell an outcome. A file that is not there leaves its part
unknown; ids are those of the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from phoenix.data.catalogue import Catalogue

TAGS_MAX = 2  # a video has one tag, seldom two; more are dropped
CHINA_OFFSET_MS = 8 * 3_600_000  # upload dates are days of Asia/Shanghai
MS_PER_DAY = 86_400_000
USER_COLUMNS = (
    "is_lowactive_period",
    "is_live_streamer",
    "is_video_author",
    "follow_user_num",
    "fans_user_num",
    "friend_user_num",
    "register_days",
    *(f"onehot_feat{number}" for number in range(18)),
)


@dataclass(frozen=True, eq=False)
class Statics:
    """V videos and U users, both in ascending order of their ids."""

    video_ids: NDArray[np.int64]  # [V]
    tags: NDArray[np.int64]  # [V, TAGS_MAX], tag + 1, 0: none
    duration_seconds: NDArray[np.float64]  # [V], nan: unknown
    uploaded_at_ms: NDArray[np.float64]  # [V], start of the day, nan: unknown
    music_ids: NDArray[np.int64]  # [V], numbered from 1, 0: unknown
    user_ids: NDArray[np.int64]  # [U]
    user_features: NDArray[np.float64]  # [U, F], nan: unknown

    def videos(self, video_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each video [N] here; V where it is not listed: see `padded`."""
        return _rows(self.video_ids, video_ids)

    def users(self, user_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each user [N] here; U where it is not listed."""
        return _rows(self.user_ids, user_ids)


def video_catalogue(statics: Statics) -> Catalogue:
    """The videos as posts, their ids shifted by one; without content vectors."""
    uploaded = np.nan_to_num(statics.uploaded_at_ms).astype(np.int64)
    return Catalogue(
        post_ids=statics.video_ids + 1,
        tags=statics.tags,
        duration_seconds=np.nan_to_num(statics.duration_seconds, nan=-1.0).astype(np.float32),
        created_at_ms=uploaded,
        content=np.zeros((len(statics.video_ids), 0), np.float32),
    )


def padded(column: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """`column[rows]`, the row behind the last being unknown: 0 of integers, nan of floats."""
    unknown = np.full((1, *column.shape[1:]), np.nan if column.dtype.kind == "f" else 0)
    return np.concatenate([column, unknown.astype(column.dtype)])[rows]


def load_statics(directory: Path) -> Statics:
    """Read the two feature files of a KuaiRand-Pure directory; ValueError: a file is damaged."""
    videos = _first(directory, "video_features_basic*.csv")
    users = _first(directory, "user_features*.csv")
    return _statics({} if videos is None else _read(videos), {} if users is None else _read(users))


def _statics(videos: dict[str, pa.ChunkedArray], users: dict[str, pa.ChunkedArray]) -> Statics:
    video_ids, order = _ids(videos, "video_id")
    user_ids, user_order = _ids(users, "user_id")
    features = [_numbers(users, name, len(user_ids))[user_order] for name in USER_COLUMNS]
    return Statics(
        video_ids=video_ids,
        tags=_tags(videos, len(order))[order],
        duration_seconds=_numbers(videos, "video_duration", len(order))[order] / 1000.0,
        uploaded_at_ms=_upload_ms(videos, len(order))[order],
        music_ids=_numbered(videos, "music_id", len(order))[order],
        user_ids=user_ids,
        user_features=np.stack(features, axis=1),
    )


def _tags(table: dict[str, pa.ChunkedArray], rows: int) -> NDArray[np.int64]:
    tags = np.zeros((rows, TAGS_MAX), dtype=np.int64)
    if "tag" not in table:
        return tags
    for row, text in enumerate(table["tag"].cast(pa.string()).to_pylist()):
        known = [int(part) + 1 for part in (text or "").split(",") if part.strip().isdecimal()]
        tags[row, : len(known[:TAGS_MAX])] = known[:TAGS_MAX]
    return tags


def _upload_ms(table: dict[str, pa.ChunkedArray], rows: int) -> NDArray[np.float64]:
    if "upload_dt" not in table:
        return np.full(rows, np.nan)
    dates = table["upload_dt"].to_numpy().astype("datetime64[ms]")
    milliseconds = dates.astype(np.int64).astype(np.float64) - CHINA_OFFSET_MS
    milliseconds[np.isnat(dates)] = np.nan
    return np.asarray(milliseconds)


def _numbered(table: dict[str, pa.ChunkedArray], name: str, rows: int) -> NDArray[np.int64]:
    values = _numbers(table, name, rows)
    _, number = np.unique(values, return_inverse=True)
    return np.where(np.isnan(values), 0, number + 1).astype(np.int64)


def _numbers(table: dict[str, pa.ChunkedArray], name: str, rows: int) -> NDArray[np.float64]:
    if name not in table:
        return np.full(rows, np.nan)
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def _ids(
    table: dict[str, pa.ChunkedArray], name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids in ascending order, and the order that brings the file's rows there."""
    if name not in table:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    given = table[name].to_numpy().astype(np.int64)
    order = np.argsort(given, kind="stable")
    return given[order], order


def _rows(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    if not len(known):
        return np.zeros(len(wanted), dtype=np.int64)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, at, len(known)).astype(np.int64)


def _first(directory: Path, pattern: str) -> Path | None:
    return next(iter(sorted(directory.glob(pattern))), None)


def _read(path: Path) -> dict[str, pa.ChunkedArray]:
    try:
        table = pa_csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return dict(zip(table.column_names, table.columns, strict=True))
