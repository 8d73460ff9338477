"""The running service: its parts, what they share, and the tasks that keep them alive."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import jax

from phoenix.index.corpus import Corpus
from phoenix.index.kinds import warm_up
from phoenix.serving.batcher import ScoreBatcher
from phoenix.serving.calls import Calls
from phoenix.serving.canary import Canary
from phoenix.serving.context_cache import ContextCache
from phoenix.serving.follower import CorpusFollower
from phoenix.serving.loading import load_served_ranker, load_served_retrieval
from phoenix.serving.prediction import PredictionServicer
from phoenix.serving.reload import CheckpointWatcher
from phoenix.serving.retrieval_service import RetrievalServicer
from phoenix.serving.served import ServedRanker, ServedRetrieval
from phoenix.serving.telemetry import Telemetry
from phoenix.serving.worker import ModelWorker
from phoenix.settings import PhoenixSettings
from protos import phoenix_pb2, phoenix_pb2_grpc
from service_kit.clock import Clock
from service_kit.consumer import Consumer
from service_kit.event_log import Entry, EventSource
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness, State
from service_kit.snowflake import SnowflakeGenerator
from service_kit.supervision import supervise

logger = logging.getLogger(__name__)

_SERVICES = phoenix_pb2.DESCRIPTOR.services_by_name
PREDICTION = str(_SERVICES["PredictionService"].full_name)
RETRIEVAL = str(_SERVICES["RetrievalService"].full_name)
_CORPUS = "corpus"


class LoggedOnly:
    """Where poison goes: nowhere. Every replica reads the whole topic at every start and would put
    the same records aside each time; they are counted and logged. Their bytes are kept once, by
    the one that reads each event once: thunder's feeder (standalone: thunder)."""

    async def append(self, topic: str, key: bytes, value: bytes, timestamp_ms: int) -> None:
        """Keeps nothing."""

    async def append_many(self, topic: str, entries: Sequence[Entry]) -> None:
        """Keeps nothing."""

    async def flush(self) -> None:
        """Nothing to flush."""

    async def close(self) -> None:
        """Nothing to close."""


class CorpusState(Readiness):
    """What the corpus' consumer says of itself; a part of RetrievalService's readiness."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.current = State(False, "not started")
        self._changed = changed

    def set(self, service_name: str, serving: bool, reason: str = "") -> None:
        """Remembers and tells; the consumer is the only one that calls."""
        self.current = State(serving, reason)
        self._changed()


class PhoenixService:
    """Wires the parts; `start` returns at once, readiness follows by itself."""

    def __init__(
        self,
        settings: PhoenixSettings,
        open_posts: Callable[[], Awaitable[EventSource]],
        readiness: Readiness,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """``open_posts``: opens foryou.posts at its oldest event; called again after a failure."""
        self._settings = settings
        self._open_posts = open_posts
        self._readiness = readiness
        self._metrics = metrics
        self._clock = clock
        self._telemetry = telemetry = Telemetry.of(metrics)
        self._worker = worker = ModelWorker()
        self._has_ranker = False
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        entries, step_ms = settings.context_cache_entries, settings.context_step_ms
        calls = Calls(telemetry, clock)
        self._batcher = ScoreBatcher(
            worker, ContextCache(entries), telemetry, clock, merge_wait_ms=settings.merge_wait_ms
        )
        canary = Canary(
            worker, telemetry, clock, rng, interval_seconds=settings.canary_interval_seconds
        )
        ids = SnowflakeGenerator(settings.worker_id, clock)
        self._prediction = PredictionServicer(
            self._batcher, canary, calls, telemetry, clock, ids, context_step_ms=step_ms
        )
        corpus = Corpus(
            posts_max=settings.index_posts_max, retention_ms=settings.index_retention_ms
        )
        self._follower = CorpusFollower(
            corpus,
            worker,
            telemetry,
            clock,
            posts_max=settings.index_posts_max,
            index_kind=settings.index_kind,
        )
        self._retrieval = RetrievalServicer(
            self._follower,
            worker,
            ContextCache(entries),
            calls,
            telemetry,
            clock,
            context_step_ms=step_ms,
        )
        self._corpus_state = CorpusState(self._report_retrieval)
        poll_seconds = settings.reload_poll_seconds
        self._rankers = CheckpointWatcher[ServedRanker](
            "ranker",
            settings.ranker_dir,
            lambda path, running: load_served_ranker(
                path, settings.shapes, running, settings.ranker_precision
            ),
            self._install_ranker,
            telemetry,
            clock,
            poll_seconds=poll_seconds,
        )
        self._towers = CheckpointWatcher[ServedRetrieval](
            "retrieval",
            settings.retrieval_dir,
            lambda path, running: load_served_retrieval(path, settings.shapes, running),
            self._install_retrieval,
            telemetry,
            clock,
            poll_seconds=poll_seconds,
        )

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds both servicers; their full names."""
        phoenix_pb2_grpc.add_PredictionServiceServicer_to_server(self._prediction, server)
        phoenix_pb2_grpc.add_RetrievalServiceServicer_to_server(self._retrieval, server)
        return [PREDICTION, RETRIEVAL]

    async def start(self) -> None:
        """Compiles the scan and starts the tasks; models and corpus arrive on their own."""
        self._report_prediction()
        self._report_retrieval()
        self._spawn("batcher", self._batcher.run())
        self._spawn("rankers", self._rankers.run())
        self._spawn("corpus", self._follow_posts())
        self._spawn("age-out", self._age_out())
        await asyncio.to_thread(warm_up, self._settings.index_kind)
        self._spawn("towers", self._towers.run())

    async def stop(self) -> None:
        """Ends the tasks and the model's thread; the server has drained by then."""
        self._stopping.set()
        await self._prediction.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._worker.close)

    async def _follow_posts(self) -> None:
        await supervise(
            self._follow_until_failure,
            name=_CORPUS,
            ready_as=_CORPUS,
            readiness=self._corpus_state,
            metrics=self._metrics,
            clock=self._clock,
        )

    async def _follow_until_failure(self) -> None:
        """One consumer's life; the next one reads the topic again, which changes nothing."""
        source = await self._open_posts()
        try:
            await Consumer(
                source,
                self._follower.handle,
                name=_CORPUS,
                clock=self._clock,
                metrics=self._metrics,
                readiness=self._corpus_state,
                ready_as=_CORPUS,
                dead_letters=LoggedOnly(),
            ).run()
        finally:
            await source.close()

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """None of the tasks ends by itself; one that does takes the service out of traffic."""
        if self._stopping.is_set() or task.cancelled():
            return
        error = task.exception()
        logger.critical("task died", extra={"task": task.get_name()}, exc_info=error)
        self._readiness.set("", False, f"{task.get_name()} died: {error}")

    async def _install_ranker(self, model: ServedRanker) -> None:
        self._prediction.install(model)
        self._telemetry.precision_error.set(model.precision_error)
        self._has_ranker = True
        self._report_prediction()

    async def _install_retrieval(self, model: ServedRetrieval) -> None:
        await self._follower.install(model)
        self._report_retrieval()

    def _report_prediction(self) -> None:
        missing = _missing("ranker", self._settings.ranker_dir, self._rankers.problem)
        self._readiness.set(PREDICTION, self._has_ranker, "" if self._has_ranker else missing)

    def _report_retrieval(self) -> None:
        corpus, reasons = self._corpus_state.current, []
        if self._follower.active is None:
            directory, problem = self._settings.retrieval_dir, self._towers.problem
            reasons.append(_missing("retrieval model", directory, problem))
        if not corpus.serving:
            reasons.append(corpus.reason)
        self._readiness.set(RETRIEVAL, not reasons, "; ".join(reasons))

    async def _age_out(self) -> None:
        while True:
            await asyncio.sleep(self._settings.age_out_interval_seconds)
            try:
                await self._follower.advance()
            except Exception:
                self._telemetry.age_out_failures.inc()
                logger.exception("posts could not be aged out; tried again")
            self._report_prediction()  # a refused checkpoint becomes visible in the reason
            self._report_retrieval()


def _missing(what: str, directory: Path, problem: str) -> str:
    return f"no {what} in {directory}" + (f": {problem}" if problem else " yet")


def configure_jax(settings: PhoenixSettings) -> None:
    """Compiled programs outlive the process, so that a restart serves sooner."""
    jax.config.update("jax_compilation_cache_dir", str(settings.compilation_dir.resolve()))  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # type: ignore[no-untyped-call]
