"""For each kind of component: how to ask it, and what its answer must look like.

A check raises BadOutputError or ColumnError with what came, what was expected and how to mend it.
"""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import (
    Filter,
    Hydrator,
    MergingFilter,
    QueryHydrator,
    Scorer,
    Selector,
    Source,
)
from candidate_pipeline.errors import BadOutputError
from candidate_pipeline.runner import Call
from candidate_pipeline.schema import AnyArray, Schema
from candidate_pipeline.table import CandidateTable, IndexArray
from candidate_pipeline.wiring import Wired

Arrays = dict[str, AnyArray]
Ranking = tuple[IndexArray, int | None]  # every row number, best first; how many are selected

T = TypeVar("T")


class Verdict(NamedTuple):
    """A filter's answer: the row numbers that stay, and columns set before the removal."""

    kept: IndexArray
    columns: Arrays


def query_hydrator_call(wired: Wired[QueryHydrator[Any]], query: Any) -> Call[dict[str, object]]:
    """Fields for dataclasses.replace, tried out so that a refusal is this component's failure."""
    component = wired.component

    def check(raw: object) -> dict[str, object]:
        fields = _named(wired, raw, "fields")
        if not _may_refuse(cast(Any, type(query)), wired.declared):
            return fields
        try:
            dataclasses.replace(query, **fields)
        except (TypeError, ValueError) as error:
            raise BadOutputError(f"{type(query).__name__} refuses {sorted(fields)}: {error}") from (
                error
            )
        return fields

    return Call(
        ask=lambda: component.hydrate(query),
        check=check,
        skip=dict,
        count=len,
        input_count=1,
        fallback=lambda: component.fallback(query),
        fail_closed=lambda: component.fail_closed(query),
    )


@lru_cache(maxsize=256)  # of the components of a process's pipelines
def _may_refuse(query_type: type[Any], declared: frozenset[str]) -> bool:
    """Whether a query with other values in these fields could raise an error."""
    if not dataclasses.is_dataclass(query_type) or hasattr(query_type, "__post_init__"):
        return True
    plain = cast(Any, query_type).__dataclass_params__.init
    known = {field.name for field in dataclasses.fields(query_type) if field.init}
    return not (plain and declared <= known)


def source_call(
    wired: Wired[Source[Any]], query: Any, schema: Schema, id_column: str
) -> Call[CandidateTable]:
    """A table of the source's candidates."""
    component = wired.component

    def check(raw: object) -> CandidateTable:
        columns = _named(wired, raw, "columns", required=frozenset({id_column}))
        return CandidateTable.from_columns(schema, columns)

    return Call(
        ask=lambda: component.fetch(query),
        check=check,
        skip=lambda: CandidateTable.from_columns(schema, {}, n=0),
        count=len,
        fallback=lambda: component.fallback(query),
        fail_closed=lambda: {id_column: ()},
    )


def hydrator_call(wired: Wired[Hydrator[Any]], query: Any, table: CandidateTable) -> Call[Arrays]:
    """Columns for every row."""
    component = wired.component
    return Call(
        ask=lambda: component.hydrate(query, table),
        check=lambda raw: _columns(wired, raw, table),
        skip=dict,
        count=lambda columns: len(table) if columns else 0,
        input_count=len(table),
        fallback=lambda: component.fallback(query, table),
        fail_closed=lambda: component.fail_closed(query, table),
    )


def scorer_call(wired: Wired[Scorer[Any]], query: Any, table: CandidateTable) -> Call[Arrays]:
    """Columns for every row."""
    component = wired.component
    return Call(
        ask=lambda: component.score(query, table),
        check=lambda raw: _columns(wired, raw, table),
        skip=dict,
        count=lambda columns: len(table) if columns else 0,
        input_count=len(table),
        fallback=lambda: component.fallback(query, table),
        fail_closed=lambda: component.fail_closed(query, table),
    )


def filter_call(wired: Wired[Filter[Any]], query: Any, table: CandidateTable) -> Call[Verdict]:
    """Which rows stay. SKIP keeps all, FAIL_CLOSED drops all."""
    component, length = wired.component, len(table)

    def check(raw: object) -> Verdict:
        if wired.merges and isinstance(raw, tuple):
            mask, columns = raw if len(raw) == 2 else (raw, {})
            merged = _columns(wired, columns, table, required=frozenset())
            return Verdict(_kept(mask, length), merged)
        return Verdict(_kept(raw, length), {})

    def ask() -> object:
        if wired.merges:
            return cast(MergingFilter[Any], component).merge(query, table)
        return component.keep(query, table)

    return Call(
        ask=ask,
        check=check,
        skip=lambda: Verdict(np.arange(length), {}),
        count=lambda verdict: len(verdict.kept),
        input_count=length,
        fallback=lambda: component.fallback(query, table),
        fail_closed=lambda: np.zeros(length, dtype=np.bool_),
    )


def selector_call(wired: Wired[Selector[Any]], query: Any, table: CandidateTable) -> Call[Ranking]:
    """A ranking of all rows. SKIP leaves the table's order; the declared size still holds."""
    component, length = wired.component, len(table)

    def check(raw: object) -> Ranking:
        return _permutation(raw, length), component.size_for(query)

    return Call(
        ask=lambda: component.select(query, table),
        check=check,
        skip=lambda: (np.arange(length), component.size),
        count=lambda ranking: length if ranking[1] is None else min(length, ranking[1]),
        input_count=length,
        fallback=lambda: cast(Any, component).fallback(query, table),
        fail_closed=lambda: cast(Any, component).fail_closed(query, table),
    )


def _columns(
    wired: Wired[Any],
    raw: object,
    table: CandidateTable,
    required: frozenset[str] | None = None,
) -> Arrays:
    columns = _named(wired, raw, "columns", required)
    schema, length = table.schema, len(table)
    arrays = {name: schema[name].coerce(values) for name, values in columns.items()}
    for name, array in arrays.items():
        if len(array) != length:
            raise BadOutputError(
                f"{wired.name} returned {len(array)} values of {name!r} for {length} candidates;"
                f" a {wired.stage} keeps count and order, and only a filter removes"
            )
    return arrays


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
