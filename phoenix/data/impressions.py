"""Impressions: one row for each time a viewer was shown a post, with what they then did.

N rows, A actions. Ids are raw 64-bit ids (0 is padding and therefore refused for viewers and
posts); times are unix milliseconds. A row may play either or both of two parts:

* training target, when `weight > 0`;
* history event of the same viewer's later contexts, when `in_history` is set. It can be seen only
  by contexts that start strictly after `known_at_ms`, the moment its outcome was complete.

A time of 0 or less means "unknown, only the order counts": such rows come before all others of
their viewer, and their age is unknown (-1) wherever an age is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix.data.catalogue import Catalogue

_UNSET_BOOL: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
_UNSET_INT: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

_ROW_DTYPES: dict[str, type[np.generic]] = {
    "viewer_ids": np.int64,
    "post_ids": np.int64,
    "author_ids": np.int64,
    "impressed_at_ms": np.int64,
    "product_surface": np.int8,
    "labels": np.float32,
    "dwell_seconds": np.float32,
    "weight": np.float32,
    "in_history": np.bool_,
    "known_at_ms": np.int64,
    "labels_known": np.bool_,
}


@dataclass(frozen=True, eq=False)
class Impressions:
    """Read-only columns sorted by (viewer_id, impressed_at_ms, given order).

    The constructor coerces dtypes and sorts (stably) when the rows are not sorted. ValueError names
    the column, what came and what was expected.
    """

    viewer_ids: NDArray[np.int64]  # [N]
    post_ids: NDArray[np.int64]  # [N]
    author_ids: NDArray[np.int64]  # [N], 0: unknown
    impressed_at_ms: NDArray[np.int64]  # [N]
    product_surface: NDArray[np.int8]  # [N]
    labels: NDArray[np.float32]  # [N, A], 0 or 1
    dwell_seconds: NDArray[np.float32]  # [N], nan: unknown
    action_names: tuple[str, ...]  # A
    weight: NDArray[np.float32]  # [N], 0: context only, no training target
    in_history: NDArray[np.bool_] = field(default_factory=lambda: _UNSET_BOOL)  # [N], default: all
    # [N], default: impressed_at_ms
    known_at_ms: NDArray[np.int64] = field(default_factory=lambda: _UNSET_INT)
    # [N, A], default: all. False: nobody recorded it, so a label of 0 there is no refusal.
    labels_known: NDArray[np.bool_] = field(default_factory=lambda: _UNSET_BOOL)
    catalogue: Catalogue | None = None  # of the posts; None: nothing is known of them

    def __post_init__(self) -> None:
        self._fill_defaults()
        self._coerce()
        self._check()
        order = self.sort_order(self.viewer_ids, self.impressed_at_ms)
        if not np.array_equal(order, np.arange(len(self))):
            for name in _ROW_DTYPES:
                object.__setattr__(self, name, getattr(self, name)[order])
        for name in _ROW_DTYPES:
            getattr(self, name).flags.writeable = False

    def _fill_defaults(self) -> None:
        object.__setattr__(self, "action_names", tuple(self.action_names))
        if len(self.in_history) == 0:
            filled = np.ones(len(self.viewer_ids), dtype=np.bool_)
            object.__setattr__(self, "in_history", filled)
        if len(self.known_at_ms) == 0:
            object.__setattr__(self, "known_at_ms", self.impressed_at_ms)
        if len(self.labels_known) == 0:
            every = np.ones(np.shape(self.labels), dtype=np.bool_)
            object.__setattr__(self, "labels_known", every)

    def _coerce(self) -> None:
        for name, dtype in _ROW_DTYPES.items():
            column = np.asarray(getattr(self, name)).astype(dtype, copy=True)
            object.__setattr__(self, name, column)

    def _check(self) -> None:
        rows, actions = len(self.viewer_ids), len(self.action_names)
        for name in _ROW_DTYPES:
            expected = (rows, actions) if name.startswith("labels") else (rows,)
            shape = getattr(self, name).shape
            if shape != expected:
                raise ValueError(
                    f"Impressions.{name} has shape {shape}, expected {expected} "
                    f"({rows} viewer_ids, {actions} action_names)"
                )
        for name in ("viewer_ids", "post_ids"):
            if rows and not getattr(self, name).all():
                raise ValueError(f"Impressions.{name} holds 0, which means padding; shift the ids")
        if not np.isin(self.labels, (0.0, 1.0)).all():
            raise ValueError("Impressions.labels must be 0 or 1")
        if not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise ValueError("Impressions.weight must be finite and not negative")
        if np.isinf(self.dwell_seconds).any() or (self.dwell_seconds < 0).any():
            raise ValueError(
                "Impressions.dwell_seconds must be finite and not negative, or nan where unknown"
            )

    @staticmethod
    def sort_order(viewer_ids: ArrayLike, impressed_at_ms: ArrayLike) -> NDArray[np.int64]:
        """The stable order that the constructor brings rows into, as indices of the given rows."""
        return np.lexsort((np.asarray(impressed_at_ms), np.asarray(viewer_ids))).astype(np.int64)

    def __len__(self) -> int:
        return len(self.viewer_ids)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Impressions:
        """The rows of an index array or mask, sorted again."""
        columns = {name: getattr(self, name)[index] for name in _ROW_DTYPES}
        return Impressions(action_names=self.action_names, catalogue=self.catalogue, **columns)

    def replace(self, **columns: NDArray[np.generic] | Catalogue | None) -> Impressions:
        """The same rows with some columns replaced."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return Impressions(**{**kept, **columns})

    @staticmethod
    def concat(parts: Sequence[Impressions]) -> Impressions:
        """All rows of parts that share one action list; the first catalogue is that of all."""
        names = {part.action_names for part in parts}
        if len(names) != 1:
            raise ValueError(f"concat needs one action list, got {len(names)}: {sorted(names)}")
        columns: dict[str, Any] = {
            n: np.concatenate([getattr(p, n) for p in parts]) for n in _ROW_DTYPES
        }
        catalogues = (part.catalogue for part in parts if part.catalogue is not None)
        return Impressions(action_names=names.pop(), catalogue=next(catalogues, None), **columns)

    @staticmethod
    def empty(action_names: Sequence[str]) -> Impressions:
        """No rows, with the given action list."""
        columns: dict[str, Any] = {n: np.zeros(0, dtype=d) for n, d in _ROW_DTYPES.items()}
        columns["labels"] = np.zeros((0, len(action_names)), dtype=np.float32)
        columns["labels_known"] = np.zeros((0, len(action_names)), dtype=np.bool_)
        return Impressions(action_names=tuple(action_names), **columns)

    def column(self, action_name: str) -> NDArray[np.float32]:
        """Labels [N] of one action by name."""
        if action_name not in self.action_names:
            raise ValueError(f"no action {action_name!r} here; there are {self.action_names}")
        return self.labels[:, self.action_names.index(action_name)]

    def write_parquet(self, path: Path) -> None:
        """Write one Parquet file with format version and action list; atomic."""
        # Imported here: pyarrow is needed by files alone, not by training from memory.
        from phoenix.data.parquet import write_impressions

        write_impressions(self, path)

    @staticmethod
    def read_parquet(path: Path) -> Impressions:
        """Read a file of `write_parquet`; ValueError names what is wrong with another one."""
        from phoenix.data.parquet import read_impressions

        return read_impressions(path)
