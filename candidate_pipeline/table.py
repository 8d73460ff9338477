"""Candidates as columns: an immutable table whose `take`, `with_columns` and `concat` copy nothing.

A table knows its own columns and where the others come from: rows of a parent table, or parts laid
end to end. A column is gathered when somebody reads it, once, and a column that nobody wrote reads
as its default. So a filter that drops rows costs one index vector, however many columns there are.

Arrays that you read are read-only; arrays that you hand over must not be changed afterwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.errors import ColumnError
from candidate_pipeline.schema import AnyArray, Schema

IndexArray = NDArray[np.intp]


class CandidateTable:
    """`len(table)` candidates with the schema's columns. Build it with `from_columns`."""

    __slots__ = ("_found", "_has_own", "_length", "_parent", "_parts", "_rows", "schema")

    def __init__(
        self,
        schema: Schema,
        length: int,
        *,
        own: dict[str, AnyArray] | None = None,
        parent: "CandidateTable | None" = None,
        rows: IndexArray | None = None,
        parts: "tuple[CandidateTable, ...]" = (),
    ) -> None:
        """For this module's use; nothing is checked here."""
        self.schema = schema
        self._length = length
        self._has_own = bool(own)
        self._found: dict[str, AnyArray] = {} if own is None else own  # and what was gathered
        self._parent = parent
        self._rows = rows
        self._parts = parts

    @classmethod
    def from_columns(
        cls, schema: Schema, columns: Mapping[str, object], n: int | None = None
    ) -> "CandidateTable":
        """A table of the given columns; absent ones have their defaults.

        n: the number of rows; needed only when there is no column to take it from.
        Raises ColumnError for unknown names, wrong dtypes and lengths that differ.
        """
        own = {name: schema[name].coerce(values) for name, values in columns.items()}
        length = n if n is not None else next((len(array) for array in own.values()), 0)
        _check_lengths(own, length)
        return cls(schema, length, own=own)

    @classmethod
    def concat(cls, tables: Sequence["CandidateTable"]) -> "CandidateTable":
        """The rows of all tables, in order. They must share one Schema object."""
        if not tables:
            raise ColumnError("concat needs at least one table; use from_columns(schema, {}, n=0)")
        schema = tables[0].schema
        if any(table.schema is not schema for table in tables):
            raise ColumnError("concat wants tables of one Schema object, got several")
        filled = tuple(table for table in tables if len(table))
        if len(filled) <= 1:
            return filled[0] if filled else tables[0]
        return cls(schema, sum(map(len, filled)), parts=filled)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> AnyArray:
        """One column, read-only. [len(self)]"""
        found = self._found.get(name)
        if found is None:
            found = self._look_up(name)
            if found is None:
                found = self._found[name] = self.schema[name].filled(self._length)
        return found

    def take(self, which: AnyArray | Sequence[int]) -> "CandidateTable":
        """The rows of an index array, in its order, or the rows where a boolean mask is true."""
        index = np.asarray(which)
        if index.dtype == np.bool_:
            if index.shape != (self._length,):
                raise ColumnError(
                    f"a mask for this table has shape ({self._length},), got {index.shape}"
                )
            return self._taken(np.flatnonzero(index))
        return self._taken(self._checked_index(index))

    def with_columns(self, columns: Mapping[str, object]) -> "CandidateTable":
        """This table with some columns set; the others, and the rows, stay.

        Raises ColumnError for unknown names, wrong dtypes and wrong lengths.
        """
        new = {name: self.schema[name].coerce(values) for name, values in columns.items()}
        _check_lengths(new, self._length)
        return self._with_own(new)

    def rows(self) -> list[dict[str, Any]]:
        """Every row as a dict of plain Python values: for people, not for the hot path."""
        columns = {name: self[name].tolist() for name in self.schema.names}
        return [
            {name: values[row] for name, values in columns.items()} for row in range(self._length)
        ]

    def compact(self) -> "CandidateTable":
        """The same table without the tables behind it, so that they can be freed."""
        own = {name: self[name] for name in self.schema.names}
        return CandidateTable(self.schema, self._length, own=own)

    def __repr__(self) -> str:
        return f"CandidateTable({self._length} rows, {len(self.schema)} columns)"

    def _taken(self, index: IndexArray) -> "CandidateTable":
        """`take` of a checked index; a table without own columns is stepped over."""
        if self._rows is not None and not self._has_own:
            return CandidateTable(
                self.schema, len(index), parent=self._parent, rows=self._rows[index]
            )
        return CandidateTable(self.schema, len(index), parent=self, rows=index)

    def _with_own(self, new: dict[str, AnyArray]) -> "CandidateTable":
        table = CandidateTable(
            self.schema,
            self._length,
            own={**self._found, **new},
            parent=self._parent,
            rows=self._rows,
            parts=self._parts,
        )
        table._has_own = self._has_own or bool(new)
        return table

    def _look_up(self, name: str) -> AnyArray | None:
        """The column, gathered once; None when nothing behind this table ever wrote it."""
        found = self._found.get(name)
        if found is None:
            found = self._gathered(name)
            if found is not None:
                found.flags.writeable = False
                self._found[name] = found
        return found

    def _gathered(self, name: str) -> AnyArray | None:
        if self._parts:
            if all(part._look_up(name) is None for part in self._parts):
                return None
            return np.concatenate([part[name] for part in self._parts])
        parent = self._parent
        if parent is None:
            return None
        behind = parent._found.get(name)
        if behind is None:
            behind = parent._look_up(name)
            if behind is None:
                return None
        assert self._rows is not None  # a table with a parent has its rows
        return behind.take(self._rows)

    def _checked_index(self, index: AnyArray) -> IndexArray:
        if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
            raise ColumnError(
                "take wants a boolean mask or a one-dimensional array of row numbers, got"
                f" {index.dtype} of shape {index.shape}"
            )
        rows = index.astype(np.intp, copy=False)
        if rows.size and not (rows.min() >= 0 and rows.max() < self._length):
            raise ColumnError(
                f"take wants row numbers from 0 to {self._length - 1}, got"
                f" {rows.min()} to {rows.max()}"
            )
        return rows


def _check_lengths(columns: Mapping[str, AnyArray], length: int) -> None:
    wrong: Iterable[str] = [
        f"{name!r} has {len(array)}" for name, array in columns.items() if len(array) != length
    ]
    if wrong:
        raise ColumnError(f"every column of this table has {length} rows; {', '.join(wrong)}")
