"""Small components for tests, and an event loop whose time passes only when nothing else can run.

`kit` holds factories; `run` runs a coroutine on the virtual loop, so that a budget of an hour ends
at once and no test sleeps.
"""

import asyncio
import dataclasses
import selectors
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from candidate_pipeline import (
    CandidatePipeline,
    Column,
    FailurePolicy,
    Filter,
    Hydrator,
    Observer,
    QueryHydrator,
    Schema,
    Scorer,
    SideEffect,
    Source,
    TopKSelector,
)


class _VirtualSelector(selectors.SelectSelector):
    """Never waits: what asyncio would have waited is added to the loop's time."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("deadlock: nothing is ready and nothing is scheduled")
            self.now_s += timeout
        return events


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


@dataclasses.dataclass(frozen=True)
class Ask:
    request_id: str = "r1"
    viewer: int = 7
    taste: float = 0.0
    friends: tuple[int, ...] = ()


class Recorder(Observer):
    """Remembers all that it hears."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.errors: list[BaseException] = []
        self.results: list[Any] = []
        self.dropped: list[str] = []

    def component_finished(self, request_id: str, report: Any) -> None:
        self.reports.append(report)

    def component_failed(self, request_id: str, report: Any, error: BaseException) -> None:
        self.errors.append(error)

    def pipeline_finished(self, result: Any) -> None:
        self.results.append(result)

    def side_effect_dropped(self, request_id: str, component: str) -> None:
        self.dropped.append(component)

    def report(self, component: str) -> Any:
        """The last report of the component."""
        return [one for one in self.reports if one.component == component][-1]


def _component(base: type[Any]) -> Callable[..., Any]:
    """make(name, method=..., reads=..., ...) → an instance of a subclass of `base`."""

    def make(name: str, **members: Any) -> Any:
        for word in ("reads", "writes", "optional_writes"):
            if word in members:
                members[word] = frozenset(members[word])
        unset = dict.fromkeys(getattr(base, "__abstractmethods__", ()))
        methods = {key: _as_method(value) for key, value in {**unset, **members}.items()}
        return type(name, (base,), methods)()

    return make


def _as_method(value: Any) -> Any:
    """Test functions have no `self`; async ones stay async."""
    if not callable(value) or isinstance(value, type | frozenset):
        return value
    if asyncio.iscoroutinefunction(value):

        async def async_method(self: Any, *args: Any) -> Any:
            return await value(*args)

        return async_method
    return lambda self, *args: value(*args)


SCHEMA = Schema(
    [
        Column("id", np.int64, 0),
        Column("author", np.int64, 0),
        Column("label", object, ""),
        Column("fact", np.float64, np.nan),
        Column("deeper", np.float64, np.nan),
        Column("score", np.float64, np.nan),
        Column("verdict", np.int8, -1),
        Column("sources", np.int64, 0),
    ]
)


def _ids_source(ids: Any, name: str = "Ids", **members: Any) -> Any:
    array = np.asarray(ids, dtype=np.int64)
    members.setdefault("fetch", lambda query: {"id": array})
    return _component(Source)(name, writes={"id"}, **members)


def _pipeline(**parts: Any) -> Any:
    parts.setdefault("schema", SCHEMA)
    parts.setdefault("id_column", "id")
    parts.setdefault("sources", [_ids_source([3, 1, 2])])
    parts.setdefault("selector", TopKSelector("id", "id"))
    parts.setdefault("query_type", Ask)
    parts.setdefault("observer", Recorder())
    return CandidatePipeline(**parts)


async def _never(*_: Any) -> Any:
    """Hangs until cancelled."""
    await asyncio.Event().wait()


@pytest.fixture
def kit() -> SimpleNamespace:
    """Factories: kit.filter("Name", keep=lambda query, table: ...), kit.pipeline(filters=[...])."""
    return SimpleNamespace(
        Ask=Ask,
        Recorder=Recorder,
        SCHEMA=SCHEMA,
        query_hydrator=_component(QueryHydrator),
        source=_component(Source),
        ids=_ids_source,
        hydrator=_component(Hydrator),
        filter=_component(Filter),
        scorer=_component(Scorer),
        side_effect=_component(SideEffect),
        component=lambda base, name, **members: _component(base)(name, **members),
        pipeline=_pipeline,
        never=_never,
        Policy=FailurePolicy,
    )


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end in virtual time."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
            return runner.run(coroutine)

    return run
