"""Runs thunder: ``python -m thunder.server``, or ``foryou serve thunder``."""

from __future__ import annotations

import asyncio
import sys

from service_kit.clock import Clock, SystemClock
from service_kit.interpreter import settle
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server
from service_kit.settings import exit_code_of
from thunder.feeder import Feeder
from thunder.replica import Thunder
from thunder.settings import ThunderSettings

NAME = "thunder"


def main(settings: ThunderSettings) -> int:
    """Runs in the mode of the settings until SIGTERM or SIGINT; returns the exit code."""
    settle()
    return asyncio.run(_serve(settings, SystemClock()))


async def _serve(settings: ThunderSettings, clock: Clock) -> int:
    metrics, readiness = Metrics(NAME), Readiness()
    metrics.watch_process()
    make = Feeder if settings.mode == "feeder" else Thunder
    process = make(settings, clock, metrics, readiness)
    return await run_server(
        settings,
        name=NAME,
        register=process.register,
        readiness=readiness,
        metrics=metrics,
        on_start=process.start,
        on_drain=process.stop,
    )


if __name__ == "__main__":
    sys.exit(exit_code_of(ThunderSettings.load, main))
