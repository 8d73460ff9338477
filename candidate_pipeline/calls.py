"""For each kind of component: how to ask it, and what its answer must look like.

A call is made once, when the pipeline is, and holds nothing of a request. Its `check` raises
BadOutputError or ColumnError with what came, what was expected and how to mend it.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.errors import BadOutputError
from candidate_pipeline.schema import AnyArray, Schema
from candidate_pipeline.table import CandidateTable, IndexArray
from candidate_pipeline.wiring import Wired

Arrays = dict[str, AnyArray]
Ranking = tuple[IndexArray, int | None]  # every row number, best first; how many are selected

R = TypeVar("R")


class Verdict(NamedTuple):
    """A filter's answer: the row numbers that stay, and columns set before the removal."""

    kept: IndexArray
    columns: Arrays


class Call(ABC, Generic[R]):
    """How to ask one component, check what it says, and what to use instead.

    `table` has no rows for kinds that come before there are candidates.
    """

    __slots__ = ("component", "is_async", "name", "wired")

    def __init__(self, wired: Wired[Any]) -> None:
        self.wired = wired
        self.component: Any = wired.component
        self.name = wired.name
        self.is_async = wired.is_async

    @abstractmethod
    def ask(self, query: Any, table: CandidateTable) -> object:
        """The component's own answer, unchecked, or what to wait for."""

    @abstractmethod
    def check(self, raw: object, query: Any, table: CandidateTable) -> R:
        """The answer in the pipeline's own shape; raises BadOutputError or ColumnError."""

    @abstractmethod
    def skip(self, table: CandidateTable) -> R:
        """As if the component were not there."""

    @abstractmethod
    def count(self, answer: R, table: CandidateTable) -> int:
        """How many candidates (or fields) an answer stands for."""

    def input_count(self, table: CandidateTable) -> int:
        """How many candidates it was asked about."""
        return len(table)

    def fallback(self, query: Any, table: CandidateTable) -> object:
        """Under FailurePolicy.FALLBACK, unchecked."""
        return self.component.fallback(query, table)

    def fail_closed(self, query: Any, table: CandidateTable) -> object:
        """Under FailurePolicy.FAIL_CLOSED, unchecked."""
        return self.component.fail_closed(query, table)


class QueryHydratorCall(Call[dict[str, object]]):
    """Fields for dataclasses.replace, tried out so that a refusal is this component's failure."""

    def ask(self, query: Any, table: CandidateTable) -> object:
        return self.component.hydrate(query)

    def check(self, raw: object, query: Any, table: CandidateTable) -> dict[str, object]:
        fields = _named(self.wired, raw, "fields")
        if not _may_refuse(cast(Any, type(query)), self.wired.declared):
            return fields
        try:
            dataclasses.replace(query, **fields)
        except (TypeError, ValueError) as error:
            raise BadOutputError(f"{type(query).__name__} refuses {sorted(fields)}: {error}") from (
                error
            )
        return fields

    def skip(self, table: CandidateTable) -> dict[str, object]:
        return {}

    def count(self, answer: dict[str, object], table: CandidateTable) -> int:
        return len(answer)

    def input_count(self, table: CandidateTable) -> int:
        return 1

    def fallback(self, query: Any, table: CandidateTable) -> object:
        return self.component.fallback(query)

    def fail_closed(self, query: Any, table: CandidateTable) -> object:
        return self.component.fail_closed(query)


@lru_cache(maxsize=256)  # of the components of a process's pipelines
def _may_refuse(query_type: type[Any], declared: frozenset[str]) -> bool:
    """Whether a query with other values in these fields could raise an error."""
    if not dataclasses.is_dataclass(query_type) or hasattr(query_type, "__post_init__"):
        return True
    plain = cast(Any, query_type).__dataclass_params__.init
    known = {field.name for field in dataclasses.fields(query_type) if field.init}
    return not (plain and declared <= known)


class SourceCall(Call[CandidateTable]):
    """A table of the source's candidates."""

    __slots__ = ("_id_column", "_required", "_schema")

    def __init__(self, wired: Wired[Any], schema: Schema, id_column: str) -> None:
        super().__init__(wired)
        self._schema = schema
        self._id_column = id_column
        self._required = frozenset({id_column})

    def ask(self, query: Any, table: CandidateTable) -> object:
        return self.component.fetch(query)

    def check(self, raw: object, query: Any, table: CandidateTable) -> CandidateTable:
        columns = _named(self.wired, raw, "columns", self._required)
        return CandidateTable.from_columns(self._schema, columns)

    def skip(self, table: CandidateTable) -> CandidateTable:
        return CandidateTable.from_columns(self._schema, {}, n=0)

    def count(self, answer: CandidateTable, table: CandidateTable) -> int:
        return len(answer)

    def input_count(self, table: CandidateTable) -> int:
        return 0

    def fallback(self, query: Any, table: CandidateTable) -> object:
        return self.component.fallback(query)

    def fail_closed(self, query: Any, table: CandidateTable) -> object:
        return {self._id_column: ()}


class HydratorCall(Call[Arrays]):
    """Columns for every row."""

    def ask(self, query: Any, table: CandidateTable) -> object:
        return self.component.hydrate(query, table)

    def check(self, raw: object, query: Any, table: CandidateTable) -> Arrays:
        return _columns(self.wired, raw, table)

    def skip(self, table: CandidateTable) -> Arrays:
        return {}

    def count(self, answer: Arrays, table: CandidateTable) -> int:
        return len(table) if answer else 0


class ScorerCall(HydratorCall):
    """Columns for every row."""

    def ask(self, query: Any, table: CandidateTable) -> object:
        return self.component.score(query, table)


class FilterCall(Call[Verdict]):
    """Which rows stay. SKIP keeps all, FAIL_CLOSED drops all."""

    def ask(self, query: Any, table: CandidateTable) -> object:
        if self.wired.merges:
            return self.component.merge(query, table)
        return self.component.keep(query, table)

    def check(self, raw: object, query: Any, table: CandidateTable) -> Verdict:
        if self.wired.merges and isinstance(raw, tuple):
            mask, columns = raw if len(raw) == 2 else (raw, {})
            merged = _columns(self.wired, columns, table, required=frozenset())
            return Verdict(_kept(mask, len(table)), merged)
        return Verdict(_kept(raw, len(table)), {})

    def skip(self, table: CandidateTable) -> Verdict:
        return Verdict(np.arange(len(table)), {})

    def count(self, answer: Verdict, table: CandidateTable) -> int:
        return len(answer.kept)

    def fail_closed(self, query: Any, table: CandidateTable) -> object:
        return np.zeros(len(table), dtype=np.bool_)


class SelectorCall(Call[Ranking]):
    """A ranking of all rows. SKIP leaves the table's order; the declared size still holds."""

    def ask(self, query: Any, table: CandidateTable) -> object:
        return self.component.select(query, table)

    def check(self, raw: object, query: Any, table: CandidateTable) -> Ranking:
        return _permutation(raw, len(table)), self.component.size_for(query)

    def skip(self, table: CandidateTable) -> Ranking:
        return np.arange(len(table)), self.component.size

    def count(self, answer: Ranking, table: CandidateTable) -> int:
        return len(table) if answer[1] is None else min(len(table), answer[1])


class SideEffectCall(Call[None]):
    """Nothing to check: nobody waits for it."""

    __slots__ = ("_result",)

    def __init__(self, wired: Wired[Any], result: Any) -> None:
        super().__init__(wired)
        self._result = result

    def ask(self, query: Any, table: CandidateTable) -> object:
        return self.component.run(query, self._result)

    def check(self, raw: object, query: Any, table: CandidateTable) -> None:
        return None

    def skip(self, table: CandidateTable) -> None:
        return None

    def count(self, answer: None, table: CandidateTable) -> int:
        return 0


def _columns(
    wired: Wired[Any],
    raw: object,
    table: CandidateTable,
    required: frozenset[str] | None = None,
) -> Arrays:
    columns = _named(wired, raw, "columns", required)
    schema, length = table.schema, len(table)
    for name, values in columns.items():
        columns[name] = array = schema[name].coerce(values)
        if len(array) != length:
            raise BadOutputError(
                f"{wired.name} returned {len(array)} values of {name!r} for {length} candidates;"
                f" a {wired.stage} keeps count and order, and only a filter removes"
            )
    return columns


def _named(
    wired: Wired[Any], raw: object, what: str, required: frozenset[str] | None = None
) -> dict[str, Any]:
    """The mapping that a component returned, if it holds what was declared and nothing else."""
    if not isinstance(raw, dict | Mapping):
        raise BadOutputError(
            f"{wired.name} returned {type(raw).__name__}; it wants a mapping of {what}:"
            f" {', '.join(sorted(wired.declared))}"
        )
    names = raw.keys()
    wanted = wired.required if required is None else required
    if not names <= wired.declared:
        raise BadOutputError(
            f"{wired.name} returned {what} {sorted(names - wired.declared)} that it does not"
            " declare in `writes`"
        )
    if not wanted <= names:
        raise BadOutputError(
            f"{wired.name} did not return {what} {sorted(wanted - names)} that it declares in"
            " `writes`; name them in `optional_writes` if they may be absent"
        )
    return dict(raw)


def _kept(mask: object, length: int) -> IndexArray:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (length,):
        came = (
            f"{mask.dtype} of shape {mask.shape}"
            if isinstance(mask, np.ndarray)
            else type(mask).__name__
        )
        raise BadOutputError(
            f"a filter returns a boolean mask of shape ({length},), True where the candidate"
            f" stays; got {came}"
        )
    return mask.nonzero()[0]


def _permutation(raw: object, length: int) -> IndexArray:
    order = np.asarray(raw)
    if order.shape != (length,) or (length and order.dtype.kind not in "iu"):
        raise BadOutputError(
            f"a selector returns every row number once, shape ({length},); got {order.dtype} of"
            f" shape {order.shape}"
        )
    seen: NDArray[np.bool_] = np.zeros(length, dtype=np.bool_)
    if length and (order.min() < 0 or order.max() >= length):
        raise BadOutputError(
            f"a selector returns row numbers from 0 to {length - 1}; got {order.min()} to"
            f" {order.max()}"
        )
    seen[order] = True
    if not seen.all():
        raise BadOutputError(
            f"a selector returns every row number once; {length - int(seen.sum())} of {length}"
            " are missing"
        )
    return order.astype(np.intp, copy=False)
