"""One request's walk through the stages. `CandidatePipeline.execute` makes one and runs it."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

import numpy as np

from candidate_pipeline.calls import Arrays, Call, FilterCall, HydratorCall, QueryHydratorCall
from candidate_pipeline.components import Q
from candidate_pipeline.ledger import Bookkeeper
from candidate_pipeline.plan import Plan
from candidate_pipeline.result import ComponentReport, Fate, Stage, StageReport
from candidate_pipeline.runner import Runner, is_enabled
from candidate_pipeline.table import CandidateTable
from candidate_pipeline.together import run_wave

C = TypeVar("C", bound=Call[Any])
R = TypeVar("R")

Waves = Sequence[Sequence[C]]

REFILL_ROUNDS_EXHAUSTED = "Refill:rounds_exhausted"


class Request(Generic[Q]):
    """Holds what changes while a request runs: the query, the reports, the books."""

    def __init__(
        self, plan: Plan[Q], query: Q, early: Runner, late: Runner, *, explain: bool
    ) -> None:
        self.query = query
        self.books = Bookkeeper(explain=explain)
        self.stages: list[StageReport] = []
        self.extra_reasons: list[str] = []
        self.empty = plan.empty
        self._plan = plan
        self._early = early
        self._late = late

    @property
    def degraded_reasons(self) -> tuple[str, ...]:
        """Each once, in the order of the stages and their components."""
        reports = (report for stage in self.stages for report in stage.components)
        reasons = [one for r in reports if r.reason is not None for one in _each(r.reason)]
        return tuple(dict.fromkeys([*reasons, *self.extra_reasons]))

    async def walk(self) -> tuple[CandidateTable, CandidateTable]:
        """The feed and the not selected rest."""
        plan = self._plan
        await self._hydrate_query(plan.query_hydrators)
        table = self.books.fetched(await self._fetch())
        table = await self._hydrate(self._early, Stage.HYDRATOR, plan.hydrators, table)
        table = await self._filter(self._early, Stage.FILTER, plan.filters, table)
        table = await self._score(table)
        ranked, size = await self._select(table)
        chosen, tail = await self._finish(ranked, size)
        return self._truncate(chosen, tail, self._wanted(size))

    async def _hydrate_query(self, waves: Waves[QueryHydratorCall]) -> None:
        with self._stage(self._early, Stage.QUERY_HYDRATOR, waves) as reports:
            for wave in waves:
                answers = await self._together(self._early, wave, self.empty, reports)
                new = {name: value for fields in answers for name, value in fields.items()}
                if new:  # each component writes its own fields
                    self.query = _replaced(self.query, new)

    async def _fetch(self) -> CandidateTable:
        plan = self._plan
        with self._stage(self._early, Stage.SOURCE, [plan.sources]) as reports:
            tables = await self._together(self._early, plan.sources, self.empty, reports)
        if plan.source_column is not None:
            tables = [self._marked(table, bit) for bit, table in enumerate(tables)]
        return CandidateTable.concat(tables)

    def _marked(self, table: CandidateTable, bit: int) -> CandidateTable:
        """Every row knows the source that brought it: source i sets bit i."""
        assert self._plan.source_column is not None
        dtype = self._plan.schema[self._plan.source_column].np_dtype
        return table._with_own({self._plan.source_column: np.full(len(table), 1 << bit, dtype)})

    async def _hydrate(
        self, runner: Runner, stage: Stage, waves: Waves[HydratorCall], table: CandidateTable
    ) -> CandidateTable:
        with self._stage(runner, stage, waves) as reports:
            for wave in waves if len(table) else ():
                answers = await self._together(runner, wave, table, reports)
                new: Arrays = {}
                for columns in answers:
                    new.update(columns)
                table = table._with_own(new)
        return table

    async def _filter(
        self,
        runner: Runner,
        stage: Stage,
        filters: Sequence[FilterCall],
        table: CandidateTable,
    ) -> CandidateTable:
        fate = Fate.FILTERED if stage is Stage.FILTER else Fate.REMOVED_LATE
        with self._stage(runner, stage, [filters]) as reports:
            for one in filters:
                if not len(table):
                    break
                verdict = await self._alone(runner, one, table, reports)
                merged = table._with_own(verdict.columns) if verdict.columns else table
                if len(verdict.kept) < len(table):
                    self.books.removed(table, verdict.kept, fate, stage, one.name)
                    merged = merged._taken(verdict.kept)
                table = merged
        return table

    async def _score(self, table: CandidateTable) -> CandidateTable:
        with self._stage(self._early, Stage.SCORER, [self._plan.scorers]) as reports:
            for one in self._plan.scorers if len(table) else ():
                table = table._with_own(await self._alone(self._early, one, table, reports))
        return table

    async def _select(self, table: CandidateTable) -> tuple[CandidateTable, int]:
        """The whole ranking and how many of it are selected."""
        if not len(table):
            return table, 0
        one = self._plan.selector
        with self._stage(self._late, Stage.SELECTOR, [[one]]) as reports:
            order, size = await self._alone(self._late, one, table, reports)
        if not reports[0].enabled:
            size = None
        ranked = table._taken(order)
        self.books.ranked(ranked)
        return ranked, len(ranked) if size is None else min(size, len(ranked))

    async def _finish(
        self, ranked: CandidateTable, size: int
    ) -> tuple[CandidateTable, CandidateTable]:
        """Late hydration and filters on the selected; refills from the tail, in rank order."""
        rows = np.arange(len(ranked))
        chosen = await self._late_hydrated(ranked._taken(rows[:size]))
        chosen = await self._late_filtered(chosen)
        wanted, taken, rounds = self._wanted(size), size, 0
        while len(chosen) < wanted and taken < len(ranked) and not self._is_hopeless():
            if rounds == self._plan.refill_rounds_max:
                self.extra_reasons.append(REFILL_ROUNDS_EXHAUSTED)
                break
            # twice as far each round: a tail in which few pass is not walked one by one
            reach = min(len(ranked), taken + ((wanted - len(chosen)) << rounds))
            more = await self._late_hydrated(ranked._taken(rows[taken:reach]))
            chosen = await self._late_filtered(CandidateTable.concat([chosen, more]))
            taken, rounds = reach, rounds + 1
        return chosen, ranked._taken(rows[taken:])

    def _wanted(self, size: int) -> int:
        limit = self._plan.result_size_for(self.query)
        return size if limit is None else min(size, limit)

    def _is_hopeless(self) -> bool:
        """No refill when a late component failed (the tail would fare no better) or time is up."""
        late = [s for s in self.stages if s.stage in (Stage.LATE_HYDRATOR, Stage.LATE_FILTER)]
        failed = any(report.error for stage in late for report in stage.components)
        return failed or self._late.is_late

    async def _late_hydrated(self, table: CandidateTable) -> CandidateTable:
        return await self._hydrate(
            self._late, Stage.LATE_HYDRATOR, self._plan.late_hydrators, table
        )

    async def _late_filtered(self, table: CandidateTable) -> CandidateTable:
        return await self._filter(self._late, Stage.LATE_FILTER, self._plan.late_filters, table)

    def _truncate(
        self, chosen: CandidateTable, tail: CandidateTable, wanted: int
    ) -> tuple[CandidateTable, CandidateTable]:
        """The feed and what is left; a refill that reached far may have brought too many."""
        rows = np.arange(len(chosen))
        served, cut = chosen, chosen._taken(rows[wanted:])
        if len(cut):
            served = chosen._taken(rows[:wanted])
        self.books.ended(served, Fate.SERVED, Stage.SELECTOR)
        self.books.ended(cut, Fate.TRUNCATED, Stage.SELECTOR)
        self.books.ended(tail, Fate.NOT_SELECTED, Stage.SELECTOR)
        return served, CandidateTable.concat([cut, tail])

    async def _together(
        self,
        runner: Runner,
        wave: Sequence[Call[R]],
        table: CandidateTable,
        reports: list[ComponentReport],
    ) -> list[R]:
        """Answers in declared order. Those that may wait run at the same time."""
        query = self.query
        gates = [is_enabled(one.wired, query) for one in wave]
        runs = [
            partial(runner.run, one, query, table, gate)
            for one, gate in zip(wave, gates, strict=True)
        ]
        may_wait = [one.is_async and gate is True for one, gate in zip(wave, gates, strict=True)]
        finished = await run_wave(runs, may_wait)
        reports.extend(report for _, report in finished)
        return [answer for answer, _ in finished]

    async def _alone(
        self, runner: Runner, one: Call[R], table: CandidateTable, reports: list[ComponentReport]
    ) -> R:
        gate = is_enabled(one.wired, self.query)
        answer, report = await runner.run(one, self.query, table, gate)
        reports.append(report)
        return answer

    def _stage(self, runner: Runner, stage: Stage, waves: Sequence[Sequence[Any]]) -> "_StageTimer":
        return _StageTimer(self.stages, runner, stage, sum(map(len, waves)))


class _StageTimer:
    """Collects a stage's component reports and appends its StageReport at the end."""

    def __init__(self, stages: list[StageReport], runner: Runner, stage: Stage, total: int) -> None:
        self._stages = stages
        self._runner = runner
        self._stage = stage
        self._total = total
        self._reports: list[ComponentReport] = []

    def __enter__(self) -> list[ComponentReport]:
        self._started = self._runner.clock()
        self._cpu_started_s = time.thread_time()
        return self._reports

    def __exit__(self, *_: object) -> None:
        latency_ms = (self._runner.clock() - self._started) * 1e3
        cpu_ms = (time.thread_time() - self._cpu_started_s) * 1e3
        reports = tuple(self._reports)
        self._stages.append(StageReport(self._stage, latency_ms, self._total, reports, cpu_ms))


def _replaced(query: Q, fields: dict[str, object]) -> Q:
    return cast(Q, dataclasses.replace(cast(Any, query), **fields))


def _each(reason: str) -> list[str]:
    """`A:x,y` is `A:x` and `A:y`: what is counted by reason then stays a short list."""
    component, _, words = reason.partition(":")
    return [f"{component}:{word}" for word in words.split(",")]
