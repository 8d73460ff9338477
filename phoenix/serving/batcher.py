"""Cuts, merges and orders the ranker's work.

* A large request is cut into chunks of the compiled sizes and never merged: sharing a call makes
  large requests slower (design measurements §3), and between chunks others get their turn.
* Requests of at most the smallest bucket share one call with up to `merged_viewers` others: with
  those that came while the model was busy, and with as many as the last call had, for which it
  waits up to `merge_wait_ms`. A lone caller therefore never waits.
* Small and large work take turns, so neither waits for more than one call of the other.

Scores do not depend on any of this, which is what makes it allowed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from phoenix.features import CandidateInputs
from phoenix.serving.buckets import Chunk, chunks
from phoenix.serving.context_cache import ContextCache as Encodings
from phoenix.serving.inputs import Context
from phoenix.serving.programs import Encoded, slice_candidates
from phoenix.serving.served import Scores, ServedRanker
from phoenix.serving.telemetry import Telemetry
from phoenix.serving.worker import ModelWorker
from service_kit.clock import Clock

logger = logging.getLogger(__name__)

# Below this many, single calls are faster: one shared call of 8 x 64 costs 1.0 ms, one alone 0.4 ms
# (demo preset, two cores, 2026-11-21).
MERGED_VIEWERS_MIN = 3


class DeadlineError(TimeoutError):
    """The caller's deadline passed before its work began."""


@dataclass(eq=False, slots=True)
class Job:
    """One chunk of one request."""

    model: ServedRanker
    context: Context
    candidates: CandidateInputs  # [1, c, …], c at most `bucket`
    bucket: int
    deadline_s: float  # monotonic
    arrived_s: float  # monotonic
    answer: "asyncio.Future[Scores]" = field(repr=False)

    @property
    def small(self) -> bool:
        """Whether it may share a call."""
        return self.bucket == self.model.programs.shapes.merged_candidates


class ScoreBatcher:
    """Takes whole requests, answers whole requests; `run` must be running."""

    def __init__(
        self,
        worker: ModelWorker,
        encodings: Encodings[Encoded],
        telemetry: Telemetry,
        clock: Clock,
        *,
        merge_wait_ms: float,
    ) -> None:
        self._worker = worker
        self._encodings = encodings
        self._telemetry = telemetry
        self._clock = clock
        self._merge_wait_s = merge_wait_ms / 1000.0
        self._small: deque[Job] = deque()
        self._large: deque[Job] = deque()
        self._company = 1  # how many shared the last small call
        self._arrived = asyncio.Event()

    async def score(
        self,
        model: ServedRanker,
        context: Context,
        candidates: CandidateInputs,
        deadline_s: float,
    ) -> Scores:
        """Scores of all candidates [1, C, …], in their order.

        Raises DeadlineError, or what the model raised.
        """
        cut = chunks(candidates.surface.shape[1], model.programs.shapes.candidate_buckets)
        jobs = [self._job(model, context, candidates, chunk, deadline_s) for chunk in cut]
        for job in jobs:
            (self._small if job.small else self._large).append(job)
        self._arrived.set()
        try:
            parts = await asyncio.gather(*(job.answer for job in jobs))
        finally:
            for job in jobs:
                job.answer.cancel()
        return _joined(parts, model.programs.config.num_actions)

    async def run(self) -> None:
        """Works for ever; cancel to stop."""
        while True:
            if not (self._small or self._large):
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if self._small:
                await self._execute(await self._take_small())
            if self._large:
                await self._execute([self._large.popleft()])

    def _job(
        self,
        model: ServedRanker,
        context: Context,
        candidates: CandidateInputs,
        chunk: Chunk,
        deadline_s: float,
    ) -> Job:
        return Job(
            model,
            context,
            slice_candidates(candidates, chunk.start, chunk.stop),
            chunk.bucket,
            deadline_s,
            self._clock.monotonic_s(),
            asyncio.get_running_loop().create_future(),
        )

    async def _take_small(self) -> list[Job]:
        """The oldest small job and those that may share its call."""
        first = self._small[0]
        room = first.model.programs.shapes.merged_viewers
        until_s = first.arrived_s + self._merge_wait_s
        while len(self._small) < min(room, self._company) and not self._large:
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left_s)
            except TimeoutError:
                break
        jobs = [job for job in self._small if job.model is first.model][:room]
        for job in jobs:
            self._small.remove(job)
        self._company = len(jobs)
        return jobs

    async def _execute(self, jobs: Sequence[Job]) -> None:
        now_s = self._clock.monotonic_s()
        wanted = [job for job in jobs if self._is_wanted(job, now_s)]
        if not wanted:
            return
        for job in wanted:
            self._telemetry.queue_seconds.observe(now_s - job.arrived_s)
        try:
            answers = await self._worker.run(lambda: self._score(wanted))
        except Exception as error:  # noqa: BLE001 - handed to every caller, who counts and logs it
            for job in wanted:
                if not job.answer.done():
                    job.answer.set_exception(error)
            return
        for job, answer in zip(wanted, answers, strict=True):
            if not job.answer.done():
                job.answer.set_result(answer)

    def _is_wanted(self, job: Job, now_s: float) -> bool:
        if job.answer.done() or now_s >= job.deadline_s:
            self._telemetry.expired_jobs.inc()
            if not job.answer.done():
                job.answer.set_exception(DeadlineError("the deadline passed in the queue"))
            return False
        return True

    def _score(self, jobs: Sequence[Job]) -> list[Scores]:
        """In the model's thread."""
        model = jobs[0].model
        caches = [self._encoding(job) for job in jobs]
        if len(jobs) >= MERGED_VIEWERS_MIN:
            self._count("score_merged", len(jobs))
            return model.score_merged(caches, [job.candidates for job in jobs])
        answers = []
        for job, encoded in zip(jobs, caches, strict=True):
            self._count(f"score_{job.bucket}", 1)
            answers.append(model.score_one(encoded, job.candidates, job.bucket))
        return answers

    def _encoding(self, job: Job) -> Encoded:
        key = (job.model.version, job.context.digest)
        found = self._encodings.get(key)
        self._telemetry.context_cache.labels("ranker", "miss" if found is None else "hit").inc()
        if found is None:
            self._count("encode", 0)
            found = job.model.encode(job.context.inputs)
            self._encodings.put(key, found)
        return found

    def _count(self, program: str, viewers: int) -> None:
        self._telemetry.program_calls.labels(program).inc()
        if viewers:
            self._telemetry.merged_viewers.observe(viewers)


def _joined(parts: Sequence[Scores], actions: int) -> Scores:
    if not parts:
        return Scores(np.zeros((0, actions), np.float32), np.zeros(0, np.float32))
    if len(parts) == 1:
        return parts[0]
    return Scores(
        np.concatenate([part.log_probs for part in parts]),
        np.concatenate([part.dwell_seconds for part in parts]),
    )
