"""Checks at construction that the parts fit, and the waves that follow from reads and writes.

Every WiringError names the components concerned and says what to change. Nothing here runs during
a request except by looking up a `Wired`.
"""

import inspect
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from candidate_pipeline.components import (
    Component,
    FailurePolicy,
    Filter,
    MergingFilter,
    QueryHydrator,
    Selector,
    Source,
)
from candidate_pipeline.errors import WiringError
from candidate_pipeline.result import Stage
from candidate_pipeline.schema import Schema

K = TypeVar("K", bound=Component[Any])

AnyComponent = Component[Any]

ASKING_METHODS = ("hydrate", "fetch", "merge", "keep", "score", "select")


@dataclass(frozen=True, slots=True)
class Wired(Generic[K]):
    """A component with what a request needs to know of it, looked up once."""

    component: K
    name: str
    stage: Stage
    declared: frozenset[str]
    required: frozenset[str]
    is_async: bool  # it may have to wait: async def, or on a thread
    blocking: bool  # on a thread
    has_gate: bool  # it has an `enable` of its own
    merges: bool  # it is a MergingFilter


def wire(stage: Stage, components: Sequence[K]) -> tuple[Wired[K], ...]:
    """The components of one stage, each checked by itself."""
    return tuple(_wired(stage, component) for component in components)


def check_names(wired: Iterable[Wired[Any]]) -> None:
    """Reports and degraded reasons need unique names."""
    seen: dict[str, Wired[Any]] = {}
    for one in wired:
        if one.name in seen:
            raise WiringError(
                f"two components are called {one.name!r} (in {seen[one.name].stage} and"
                f" {one.stage}); override the property `name` in one of them"
            )
        seen[one.name] = one


def check_single_writers(wired: Sequence[Wired[Any]]) -> None:
    """Components that run together must not write the same name."""
    writer: dict[str, str] = {}
    for one in wired:
        for name in sorted(one.declared):
            if name in writer:
                raise WiringError(
                    f"{writer[name]} and {one.name} both write {name!r} in {one.stage}; only one"
                    " may, or the answer depends on which is faster"
                )
            writer[name] = one.name


def waves(wired: Sequence[Wired[K]]) -> tuple[tuple[Wired[K], ...], ...]:
    """Groups that run one after the other: a reader comes after the writer of what it reads."""
    writer = {name: one for one in wired for name in one.declared}
    waiting = list(wired)
    done: set[str] = set()
    found: list[tuple[Wired[K], ...]] = []
    while waiting:
        ready = tuple(one for one in waiting if _needs(one, writer) <= done)
        if not ready:
            raise WiringError(_cycle_message(waiting, writer))
        found.append(ready)
        done |= {one.name for one in ready}
        waiting = [one for one in waiting if one.name not in done]
    return tuple(found)


class ColumnFlow:
    """Follows the columns from stage to stage: who reads what, and who wrote it before."""

    def __init__(
        self,
        schema: Schema,
        id_column: str,
        source_column: str | None,
        preset_columns: Collection[str] = (),
    ) -> None:
        self._schema = schema
        self._id_column = id_column
        self._source_column = source_column
        self._written: set[str] = set(preset_columns)
        for name in preset_columns:
            if name not in schema:
                raise WiringError(f"preset column {name!r} is not in the schema")
        _check_integer(schema, id_column, "id_column")
        if source_column is not None:
            _check_integer(schema, source_column, "source_column")
            self._written.add(source_column)

    def sources(self, wired: Sequence[Wired[Source[Any]]]) -> None:
        """Each brings the id column and none the source column."""
        if not wired:
            raise WiringError("a pipeline needs at least one source")
        bits = 8 * self._schema[self._source_column].np_dtype.itemsize if self._source_column else 0
        if self._source_column and len(wired) >= bits:
            raise WiringError(f"{len(wired)} sources, but {self._source_column!r} has {bits} bits")
        for one in wired:
            self._known(one, one.declared, "writes")
            if self._id_column not in one.declared:
                raise WiringError(
                    f"source {one.name} does not declare {self._id_column!r} in `writes`; a source"
                    " declares every column that it may return, the id column among them"
                )
            if self._source_column in one.declared:
                raise WiringError(
                    f"source {one.name} writes {self._source_column!r}, which the pipeline fills"
                )
            self._written |= one.declared

    def together(self, wired: Sequence[Wired[Any]]) -> None:
        """A stage whose components run in waves: all its writes are there for its reads."""
        check_single_writers(wired)
        for one in wired:
            self._known(one, one.declared, "writes")
        available = self._written.union(*(one.declared for one in wired))
        for one in wired:
            self._reads(one, available)
        self._written = available

    def in_order(self, wired: Sequence[Wired[Any]]) -> None:
        """A stage whose components run one after the other."""
        writer: dict[str, str] = {}
        for one in wired:
            self._known(one, one.declared, "writes")
            reads = self._reads(one, self._written)
            for name in sorted(one.declared):
                if name in writer and name not in reads:
                    raise WiringError(
                        f"{writer[name]} and {one.name} both write {name!r} in {one.stage}, and"
                        f" {one.name} does not read it, so the first one's work would be lost;"
                        f" declare {name!r} in the reads of {one.name} if it refines it"
                    )
                writer[name] = one.name
            self._written |= one.declared

    def _reads(self, one: Wired[Any], available: set[str]) -> frozenset[str]:
        reads: frozenset[str] = one.component.declared_reads()
        self._known(one, reads, "reads")
        missing = sorted(reads - available)
        if missing:
            raise WiringError(
                f"{one.name} ({one.stage}) reads {', '.join(map(repr, missing))}, which nothing"
                " before it writes; add the component or source that does, move it earlier, or, if"
                " the schema's default is meant, name it in `preset_columns`"
            )
        return reads

    def _known(self, one: Wired[Any], names: Iterable[str], what: str) -> None:
        unknown = sorted(name for name in names if name not in self._schema)
        if unknown:
            raise WiringError(
                f"{one.name} ({one.stage}) {what} {', '.join(map(repr, unknown))}, which the"
                f" schema does not have; its columns: {', '.join(self._schema.names)}"
            )


def check_query_fields(
    wired: Sequence[Wired[QueryHydrator[Any]]], query_type: type[Any] | None
) -> None:
    """Query hydrators read and write fields of the query's dataclass."""
    check_single_writers(wired)
    if query_type is None:
        return
    if not is_dataclass(query_type):
        raise WiringError(f"query_type {query_type.__name__} is not a dataclass")
    known = {field.name for field in fields(query_type) if field.init}
    for one in wired:
        unknown = sorted((one.declared | one.component.declared_reads()) - known)
        if unknown:
            raise WiringError(
                f"{one.name} (QueryHydrator) declares {', '.join(map(repr, unknown))}, which"
                f" {query_type.__name__} does not have as a field"
            )


def _wired(stage: Stage, component: K) -> Wired[K]:
    _check_budget(component)
    _check_policy(stage, component)
    one = Wired(
        component=component,
        name=component.name,
        stage=stage,
        declared=component.declared_writes(),
        required=component.required_writes(),
        is_async=component.blocking or _is_async(component),
        blocking=component.blocking,
        has_gate=getattr(component.enable, "__func__", None) is not Component.enable,
        merges=isinstance(component, MergingFilter),
    )
    if one.declared and isinstance(component, Filter) and not isinstance(component, MergingFilter):
        raise WiringError(
            f"filter {one.name} declares writes {sorted(one.declared)}; a filter only removes,"
            " unless it is a MergingFilter"
        )
    if one.declared and isinstance(component, Selector):
        raise WiringError(f"selector {one.name} declares writes; it only ranks")
    return one


def _check_budget(component: AnyComponent) -> None:
    if not (math.isfinite(component.budget_ms) and component.budget_ms > 0):
        raise WiringError(
            f"{component.name} has budget_ms={component.budget_ms!r}; it wants a positive number"
            " of milliseconds"
        )
    if component.blocking and _is_async(component):
        raise WiringError(
            f"{component.name} is `blocking` and `async def`; a thread runs a plain `def`"
        )


def _is_async(component: AnyComponent) -> bool:
    methods = (getattr(component, name, None) for name in ASKING_METHODS)
    return any(inspect.iscoroutinefunction(method) for method in methods)


def _check_policy(stage: Stage, component: AnyComponent) -> None:
    """FALLBACK and FAIL_CLOSED need an answer, which some kinds have by nature."""
    policy = component.on_failure
    if stage is Stage.SIDE_EFFECT and policy is not FailurePolicy.SKIP:
        raise WiringError(
            f"side effect {component.name} has on_failure={policy.name}, but it runs after the"
            " response; only SKIP has a meaning"
        )
    if policy not in (FailurePolicy.FALLBACK, FailurePolicy.FAIL_CLOSED):
        return
    if policy is FailurePolicy.FAIL_CLOSED and isinstance(component, Source | Filter):
        return
    method = "fallback" if policy is FailurePolicy.FALLBACK else "fail_closed"
    if not _overrides(component, method):
        raise WiringError(
            f"{component.name} has on_failure={policy.name} but no method `{method}`"
            f" that says what to answer then"
        )


def _overrides(component: AnyComponent, method: str) -> bool:
    """Whether a class outside the framework's own defines the method."""
    return any(
        method in vars(cls)
        for cls in type(component).__mro__
        if cls.__module__ != Component.__module__
    )


def _needs(one: Wired[Any], writer: Mapping[str, Wired[Any]]) -> set[str]:
    reads = one.component.declared_reads()
    return {writer[name].name for name in reads if name in writer} - {one.name}


def _cycle_message(waiting: Sequence[Wired[Any]], writer: Mapping[str, Wired[Any]]) -> str:
    lines = [f"{one.name} waits for {', '.join(sorted(_needs(one, writer)))}" for one in waiting]
    return (
        f"the {waiting[0].stage} components read one another's writes in a circle:"
        f" {'; '.join(lines)}; split one of them in two"
    )


def _check_integer(schema: Schema, name: str, what: str) -> None:
    if name not in schema:
        hint = "; pass source_column=None to do without" if what == "source_column" else ""
        raise WiringError(f"{what} {name!r} is not in the schema{hint}")
    if not np.issubdtype(schema[name].np_dtype, np.integer):
        raise WiringError(f"{what} {name!r} is {schema[name].np_dtype}; it wants an integer dtype")
