"""The two sides of the budget: one feed, and the calibration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.columnar_pipeline import columnar_pipeline
from benchmarks.feed_world import make_world
from benchmarks.object_pipeline import object_pipeline

CANDIDATES = 1_500
CALIBRATION_CANDIDATES = 600  # as few as the benchmark's world can have


def one_feed(loop: asyncio.AbstractEventLoop) -> Callable[[], object]:
    """Asks the feed's real components for the same feed again and again."""
    world = make_world(CANDIDATES)
    pipeline = columnar_pipeline(world)

    def feed() -> object:
        result = loop.run_until_complete(pipeline.execute(world.query))
        assert not result.degraded_reasons, result.degraded_reasons
        return result

    return feed


def calibration(loop: asyncio.AbstractEventLoop) -> Callable[[], object]:
    """The committed ratio is measured in this: who changes it renews the baseline."""
    world = make_world(CALIBRATION_CANDIDATES)
    pipeline = object_pipeline(world)
    return lambda: loop.run_until_complete(pipeline.execute(world.query))
