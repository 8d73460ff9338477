"""Runs one gRPC service from first log line to exit code.

Order of a life: logs, traces → side door → gRPC bound and listening (NOT_SERVING) → one JSON line
on standard output → ``on_start`` → SERVING when the service says so → SIGTERM or SIGINT →
NOT_SERVING, still answering → running calls finish → ``on_drain`` → 0, all within
``drain_seconds``; 1 when something had to be cut (``service_kit.drain``).
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service_kit.drain import Drain, Hook
from service_kit.http_status import StatusServer
from service_kit.logs import configure_logging
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.running_calls import RunningCalls
from service_kit.settings import ServiceSettings
from service_kit.signals import call_on_signals, ignore_signals
from service_kit.tracing import configure_tracing

logger = logging.getLogger(__name__)
EXIT_OK = 0
EXIT_FAILED = 1
# Health checks and reflection are still answered when the service itself is full. Each channel of
# a client holds one health watch open.
SIDE_RPCS = 1_024
# Calls under way when a connection reaches its age; a feed's budget is a minute at most.
CONNECTION_GRACE_MS = 60_000
# After its bound a drain that hangs (a thread, a native library) ends with 1 and every stack on
# standard error; an orchestrator's SIGKILL would leave no word.
HANG_SECONDS = 2.0
PING_MS_MIN = 1_000  # clients' keepalive; gRPC's own limit of five minutes would cut them off

Register = Callable[[grpc.aio.Server], Sequence[str]]


async def run_server(
    settings: ServiceSettings,
    *,
    name: str,
    register: Register,
    readiness: Readiness,
    metrics: Metrics,
    on_start: Hook | None = None,
    on_drain: Hook | None = None,
) -> int:
    """Serves until a signal; returns the process's exit code: 0 drained, 1 failed or cut.

    ``register`` adds the servicers and returns their full names; each is NOT_SERVING until the
    service sets it in ``readiness``. ``on_start`` runs once the port listens (load, warm up, start
    consumers); an exception in it ends the process with 1. Without ``on_start`` all names serve.
    ``on_drain`` runs once whatever happened and has ``settings.flush_seconds`` at least.
    """
    configure_logging(name, settings.log_level)
    stop_tracing = configure_tracing(name)
    life = _Life(settings, name, readiness, metrics)
    try:
        code = await life.run(register, on_start, on_drain)
    except OSError as error:
        logger.error("cannot start", extra={"reason": str(error)})
        print(f"{name} cannot start: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        stop_tracing()
    if life.start_interrupted:
        _leave_threads_behind(code)
    return code


class _Life:
    def __init__(
        self, settings: ServiceSettings, name: str, readiness: Readiness, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._name = name
        self._readiness = readiness
        self._metrics = metrics
        self._drain = Drain(settings, metrics)
        self._calls = RunningCalls()
        self._stop = asyncio.Event()
        self._health = health.aio.HealthServicer()
        self._health_updates: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        self.start_interrupted = False

    async def run(self, register: Register, on_start: Hook | None, on_drain: Hook | None) -> int:
        status = self._status_server()
        try:
            server, address = self._grpc_server(register, serve_at_once=on_start is None)
            await server.start()
            updates = asyncio.create_task(self._follow_readiness())
            loop = asyncio.get_running_loop()
            call_on_signals(loop, self._stop.set)
            self._announce(address, status)
            code = await self._serve(on_start)
            await self._end(server, on_drain)
            ignore_signals(loop)
            updates.cancel()
            with suppress(asyncio.CancelledError):
                await updates
            return EXIT_FAILED if self._drain.cut_anything else code
        finally:
            if status is not None:
                await asyncio.to_thread(status.stop)

    def _status_server(self) -> StatusServer | None:
        if self._settings.metrics_port < 0:
            return None
        host, port = self._settings.grpc_host, self._settings.metrics_port
        try:
            status = StatusServer(host, port, self._metrics, self._readiness)
        except OSError as error:
            raise OSError(f"metrics_port {port} on {host}: {error}; choose another") from error
        status.start()
        return status

    def _grpc_server(self, register: Register, serve_at_once: bool) -> tuple[grpc.aio.Server, str]:
        server = grpc.aio.server(
            interceptors=[self._calls],
            options=self._options(),
            compression=_COMPRESSION[self._settings.response_compression],
            maximum_concurrent_rpcs=self._settings.max_concurrent_rpcs + SIDE_RPCS,
        )
        names = list(register(server))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
        )
        for service in names:
            if serve_at_once or service not in self._readiness.snapshot():
                self._readiness.set(service, serve_at_once, "starting")
        return server, self._bind(server)

    def _options(self) -> list[tuple[str, int]]:
        size = self._settings.max_message_bytes
        return [
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
            ("grpc.max_connection_age_ms", self._settings.connection_seconds_max * 1_000),
            ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", PING_MS_MIN),
            ("grpc.so_reuseport", 0),  # a second server on the port is an error, not half the calls
        ]

    def _bind(self, server: grpc.aio.Server) -> str:
        wanted = f"{self._settings.grpc_host}:{self._settings.grpc_port}"
        try:
            port = server.add_insecure_port(wanted)
        except RuntimeError as error:
            raise OSError(f"grpc_port: cannot listen on {wanted}; is it taken?") from error
        if port == 0:
            raise OSError(f"grpc_port: cannot listen on {wanted}; is it taken?")
        return f"{self._settings.grpc_host}:{port}"

    async def _follow_readiness(self) -> None:
        loop = asyncio.get_running_loop()

        def listener(service: str, serving: bool) -> None:
            with suppress(RuntimeError):  # a thread that outlives the loop has nobody to tell
                loop.call_soon_threadsafe(self._health_updates.put_nowait, (service, serving))

        self._readiness.listen(listener)
        status = health_pb2.HealthCheckResponse
        while True:
            service, serving = await self._health_updates.get()
            await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)
            self._health_updates.task_done()

    def _announce(self, address: str, status: StatusServer | None) -> None:
        line = {
            "service": self._name,
            "grpc_address": address,
            "metrics_address": status.address if status else None,
        }
        print(json.dumps(line), flush=True)
        logger.info("listening", extra=line)

    async def _serve(self, on_start: Hook | None) -> int:
        """Runs ``on_start``, then waits for a signal; 1 when the start failed."""
        stopping = asyncio.create_task(self._stop.wait())
        starting = asyncio.create_task(_started(on_start))
        await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and starting.exception() is None:
            await stopping
            return EXIT_OK
        stopping.cancel()
        if starting.done():
            self._say_why(starting.exception())
            return EXIT_FAILED
        self.start_interrupted = True
        starting.cancel()
        await asyncio.wait({starting})
        return EXIT_OK

    def _say_why(self, error: BaseException | None) -> None:
        """A disk's or directory's fault is the operator's to mend; anything else tells where."""
        trace = None if isinstance(error, OSError) else error
        logger.error("start failed", extra={"reason": str(error)}, exc_info=trace)
        print(f"{self._name} cannot start: {error}", file=sys.stderr)

    async def _end(self, server: grpc.aio.Server, on_drain: Hook | None) -> None:
        self._drain.begin()
        faulthandler.dump_traceback_later(self._settings.drain_seconds + HANG_SECONDS, exit=True)
        served = any(state.serving for state in self._readiness.snapshot().values())
        self._readiness.drain("draining")
        await asyncio.sleep(0)  # the listener's call_soon runs
        await self._health_updates.join()
        if served:
            await self._drain.lame_duck()
        await self._drain.finish_calls(server, self._calls)
        if on_drain is not None:
            await self._drain.flush(on_drain)
        logger.info("drained")


_COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}


async def _started(on_start: Hook | None) -> None:
    if on_start is not None:
        await on_start()


def _leave_threads_behind(code: int) -> None:
    """Ends the process: a kernel that a start-up thread compiles cannot be told to stop, and
    Python would wait for it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
