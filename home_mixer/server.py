"""The home_mixer process: opens stores and channels, wires the pipeline, serves until a signal.

It serves as soon as its own store is open: thunder and phoenix may come later, go and return, and
each answer says what it had to do without.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from contextlib import suppress

import grpc.aio

from home_mixer.clients.circuit_breaker import Breakers
from home_mixer.clients.grpc_channel import open_channel
from home_mixer.clients.guarded import guarded_clients, guarded_method
from home_mixer.clients.opening import OpenFeatureStore, open_feature_clients
from home_mixer.clients.phoenix_messages import predict_method, retrieve_method
from home_mixer.clients.thunder_answers import GetInNetworkPosts, in_network_method
from home_mixer.params import ParamsStore
from home_mixer.pipeline import Collaborators, build_pipeline
from home_mixer.serving.servicer import Feed, ScoredPostsServicer
from home_mixer.serving.telemetry import Telemetry
from home_mixer.settings import HomeMixerSettings
from protos import (
    home_mixer_pb2,
    home_mixer_pb2_grpc,
    phoenix_pb2,
    thunder_pb2,
)
from service_kit.clock import Clock, SystemClock
from service_kit.drain import CutError
from service_kit.event_log import EventSink
from service_kit.event_logs import open_sink
from service_kit.interpreter import settle
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server
from service_kit.settings import EXIT_USAGE

logger = logging.getLogger(__name__)
_SERVICES = home_mixer_pb2.DESCRIPTOR.services_by_name
SERVICE_NAME = str(_SERVICES["ScoredPostsService"].full_name)
_PHOENIX = phoenix_pb2.DESCRIPTOR.services_by_name
RANKER = str(_PHOENIX["PredictionService"].full_name)
RETRIEVAL = str(_PHOENIX["RetrievalService"].full_name)
THUNDER = str(thunder_pb2.DESCRIPTOR.services_by_name["InNetworkPostsService"].full_name)
REQUEST_ID_BITS = 63
SIDE_EFFECTS_SHARE = 0.8  # of the flush's time; the rest is for the log's last records


class HomeMixerProcess:
    """Everything that one home_mixer owns, opened by `start` and closed by `stop`."""

    def __init__(
        self,
        settings: HomeMixerSettings,
        metrics: Metrics,
        readiness: Readiness,
        clock: Clock,
        random_: random.Random,
    ) -> None:
        """Raises ValueError for ranking parameters that cannot be used."""
        self._settings = settings
        self._metrics = metrics
        self._readiness = readiness
        self._clock = clock
        self._random = random_
        self._telemetry = Telemetry(metrics)
        self._breakers = Breakers(settings.breaker_limits, clock, metrics)
        self._params = ParamsStore(settings.params)
        self._feed: Feed | None = None
        self._store: OpenFeatureStore | None = None
        self._log: EventSink | None = None
        self._channels: list[grpc.aio.Channel] = []
        self._reloading: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> list[str]:
        """Adds the service; it answers UNAVAILABLE until `start` is done."""
        settings = self._settings
        servicer = ScoredPostsServicer(
            lambda: self._feed,
            self._params,
            self._telemetry,
            self._clock,
            self._request_id,
            max_concurrent=settings.max_concurrent_requests,
            budget_ms=settings.request_budget_ms,
        )
        home_mixer_pb2_grpc.add_ScoredPostsServiceServicer_to_server(servicer, server)
        return [SERVICE_NAME]

    async def start(self) -> None:
        """Opens the store (StoreError when it cannot) and wires the pipeline."""
        settings = self._settings
        self._store = await open_feature_clients(settings, metrics=self._metrics, clock=self._clock)
        self._log = await open_sink(settings, metrics=self._metrics)
        ranker = self._channel(settings.phoenix_address, RANKER)
        retrieval = self._channel(settings.retrieval_target, RETRIEVAL)
        to = self._breakers.to
        pipeline, scorer = build_pipeline(
            settings,
            Collaborators(
                clients=guarded_clients(
                    self._store.clients, self._breakers, settings.store_budget_ms
                ),
                thunder=self._thunder_shares(),
                retrieve=guarded_method(
                    retrieve_method(retrieval),
                    to("retrieval", settings.retrieval_budget_ms),
                ),
                predict=guarded_method(
                    predict_method(ranker),
                    to("ranker", settings.ranker_budget_ms),
                ),
                events=self._log,
                clock=self._clock,
            ),
            self._telemetry,
        )
        self._feed = Feed(pipeline, scorer, pipeline.component_names()["Source"])
        self._reloading = asyncio.create_task(self._reload_params(), name="params reload")
        self._readiness.set(SERVICE_NAME, True)

    def _thunder_shares(self) -> list[GetInNetworkPosts]:
        """One method a share, each behind a breaker of its own."""
        targets = self._settings.thunder_targets
        names = ["thunder"] if len(targets) == 1 else [f"thunder_{i}" for i in range(len(targets))]
        return [
            guarded_method(
                in_network_method(self._channel(target, THUNDER)),
                self._breakers.to(name, self._settings.thunder_budget_ms),
            )
            for name, target in zip(names, targets, strict=True)
        ]

    async def stop(self) -> None:
        """Drains side effects, then closes channels, log and store. CutError: some were lost."""
        complete = True
        if self._reloading is not None:
            self._reloading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reloading
        if self._feed is not None:
            flush_s = SIDE_EFFECTS_SHARE * self._settings.flush_seconds
            complete = await self._feed.pipeline.drain(flush_s)
            self._feed.pipeline.close()
        for channel in self._channels:
            await channel.close()
        if self._log is not None:
            await self._log.flush()
            await self._log.close()
        if self._store is not None:
            await self._store.close()
        if not complete:
            raise CutError("side effects were cut off")

    def _channel(self, target: str, service: str) -> grpc.aio.Channel:
        """Channels to one address share its connections."""
        channel = open_channel(target, service)
        self._channels.append(channel)
        return channel

    def _request_id(self, viewer_id: int) -> str:
        return f"{self._random.getrandbits(REQUEST_ID_BITS)}-{viewer_id}"

    async def _reload_params(self) -> None:
        """Looks at the parameters' file now and then; a bad one leaves the old in force."""
        while True:
            await asyncio.sleep(self._settings.params_reload_seconds)
            failed_before = self._params.failed_reloads
            if await asyncio.to_thread(self._params.reload_if_changed):
                self._telemetry.params_reloads.labels("ok").inc()
                logger.info(
                    "parameters reloaded", extra={"params_hash": self._params.current.params_hash}
                )
            elif self._params.failed_reloads > failed_before:
                self._telemetry.params_reloads.labels("refused").inc()
                logger.error("parameters refused", extra={"reason": self._params.error})


def main(settings: HomeMixerSettings) -> int:
    """Runs until SIGTERM or SIGINT; the process's exit code (2: parameters that do not load)."""
    settle()
    metrics, readiness = Metrics("home_mixer"), Readiness()
    metrics.watch_process()
    clock, random_ = SystemClock(), random.SystemRandom()
    try:
        process = HomeMixerProcess(settings, metrics, readiness, clock, random_)
    except ValueError as error:
        print(f"home-mixer cannot start: params: {error}", file=sys.stderr)
        return EXIT_USAGE
    return asyncio.run(
        run_server(
            settings,
            name="home-mixer",
            register=process.register,
            readiness=readiness,
            metrics=metrics,
            on_start=process.start,
            on_drain=process.stop,
        )
    )
