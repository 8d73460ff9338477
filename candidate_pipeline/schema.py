"""The columns that a pipeline's candidates may have: name, dtype and the value before anyone wrote.

A schema is fixed when the pipeline is built. Strings and tuples live in `object` columns. A column
that nothing has written yet costs nothing and reads as its default.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from candidate_pipeline.errors import ColumnError, WiringError

AnyArray = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """One field of every candidate.

    default: the value of rows that nothing wrote; must be immutable and fit the dtype.
    doc: one sentence for readers of the schema.
    """

    name: str
    dtype: DTypeLike
    default: object
    doc: str = ""
    np_dtype: np.dtype[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise WiringError(f"column name {self.name!r} is not an identifier such as 'author_id'")
        dtype = np.dtype(self.dtype)
        if dtype.kind not in "biufO":
            raise WiringError(
                f"column {self.name!r} has dtype {dtype}; use bool, an integer, a float, or object"
                " for strings and tuples"
            )
        object.__setattr__(self, "np_dtype", dtype)
        self._check_default()

    def _check_default(self) -> None:
        if self.np_dtype.kind == "O":
            if isinstance(self.default, list | dict | set | np.ndarray):
                raise WiringError(
                    f"column {self.name!r} has a mutable default {self.default!r}, which all rows"
                    " would share; use a tuple, a frozenset or None"
                )
            return
        try:
            np.full(1, self.default, dtype=self.np_dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise WiringError(
                f"column {self.name!r}: default {self.default!r} does not fit {self.np_dtype}"
            ) from error

    def filled(self, length: int) -> AnyArray:
        """The default, `length` times, read-only. [length]"""
        values: AnyArray = np.empty(length, dtype=self.np_dtype)
        values.fill(self.default)
        values.flags.writeable = False
        return values

    def coerce(self, values: object) -> AnyArray:
        """`values` as a read-only array of this column's dtype, copied only where it must be.

        Raises ColumnError when they are not one-dimensional or would lose information.
        """
        array = values if isinstance(values, np.ndarray) else self._from_sequence(values)
        if array.ndim == 1 and array.dtype is self.np_dtype:
            if array.flags.writeable:
                array = array.view()
                array.flags.writeable = False
            return array
        if array.ndim != 1:
            raise ColumnError(
                f"column {self.name!r} wants one value a row (shape [n]), got shape {array.shape}"
            )
        if array.dtype != self.np_dtype:
            if not np.can_cast(array.dtype, self.np_dtype, casting="safe"):
                raise ColumnError(
                    f"column {self.name!r} wants {self.np_dtype}, got {array.dtype}, which may lose"
                    f" information; convert it yourself, e.g. .astype({str(self.np_dtype)!r})"
                )
            array = array.astype(self.np_dtype)
        return _read_only(array)

    def _from_sequence(self, values: object) -> AnyArray:
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ColumnError(
                f"column {self.name!r} wants an array or a sequence with one value a row, got"
                f" {type(values).__name__}"
            )
        items = list(values)
        array: AnyArray = np.empty(len(items), dtype=self.np_dtype)
        try:
            for row, item in enumerate(items):
                array[row] = item
        except (TypeError, ValueError, OverflowError) as error:
            raise ColumnError(
                f"column {self.name!r} wants {self.np_dtype}, got {item!r} in row {row}"
            ) from error
        return array


def _read_only(array: AnyArray) -> AnyArray:
    """The array where it is read-only, else a view of it that is."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.setflags(write=False)
    return view


class Schema:
    """An ordered set of columns; raises WiringError when two share a name."""

    def __init__(self, columns: Iterable[Column]) -> None:
        by_name: dict[str, Column] = {}
        for column in columns:
            if column.name in by_name:
                raise WiringError(f"the schema has two columns called {column.name!r}")
            by_name[column.name] = column
        self._columns: Mapping[str, Column] = MappingProxyType(by_name)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in declared order."""
        return tuple(self._columns)

    def __getitem__(self, name: str) -> Column:
        found = self._columns.get(name)
        if found is None:
            raise ColumnError(
                f"no column {name!r} in the schema; it has {', '.join(self._columns)}"
            )
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[Column]:
        return iter(self._columns.values())

    def __len__(self) -> int:
        return len(self._columns)
