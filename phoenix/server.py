"""Runs phoenix as a process: `foryou serve phoenix` ends up here."""

import asyncio
import random

from phoenix.serving.service import PhoenixService, configure_jax
from phoenix.settings import PhoenixSettings
from service_kit.clock import SystemClock
from service_kit.event_log import TOPIC_POSTS
from service_kit.event_logs import open_source
from service_kit.interpreter import named_pool, settle
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server

# They take messages apart and put them together; three at most are with a reload or the log.
MESSAGE_THREADS = 8


def main(settings: PhoenixSettings) -> int:
    """Serves until SIGTERM or SIGINT; the process's exit code."""
    settle()
    return asyncio.run(serve(settings))


async def serve(settings: PhoenixSettings) -> int:
    """`main` in a running event loop."""
    configure_jax(settings)
    metrics, readiness = Metrics("phoenix"), Readiness()
    metrics.watch_process()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(named_pool(MESSAGE_THREADS, "message"))
    service = PhoenixService(
        settings,
        lambda: open_source(settings, [TOPIC_POSTS], metrics=metrics),
        readiness,
        metrics,
        SystemClock(),
        random.Random(),
    )
    return await run_server(
        settings,
        name="phoenix",
        register=service.register,
        readiness=readiness,
        metrics=metrics,
        on_start=service.start,
        on_drain=service.stop,
    )
