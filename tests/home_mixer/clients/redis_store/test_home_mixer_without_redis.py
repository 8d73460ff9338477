"""home_mixer's process while its Redis is not there yet: it serves, says so, and recovers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from real_parts.processes import Processes
from real_parts.redis import RedisServer

from foryou.children import Children
from home_mixer.client import AsyncHomeMixerClient
from home_mixer.clients.writes import FOLLOW, EdgeChange, FeatureBatch

VIEWER = 7
UNKNOWN = "UserFeaturesQueryHydrator:"
DEADLINE_S = 90.0  # bounds failure alone: the machine may be busy


async def test_it_starts_without_redis_and_recovers_once_redis_is_filled(
    tmp_path: Path, redis_server: RedisServer, make_writer: Any, key_prefix: str
) -> None:
    redis_server.kill()
    environment = {"REDIS_URL": redis_server.url, "HOME_MIXER__REDIS_KEY_PREFIX": key_prefix}
    async with Children(tmp_path) as children:
        processes = Processes(tmp_path, children, environment)
        await processes.start("mixer", "home-mixer")
        await processes.ready("mixer")
        async with AsyncHomeMixerClient(processes.addresses["mixer"]) as client:
            feed = await client.get_scored_posts(VIEWER)
            assert feed.posts == ()
            assert any(reason.startswith(UNKNOWN) for reason in feed.degraded_reasons)
            redis_server.start()
            feed = await client.get_scored_posts(VIEWER)
            assert any(reason.startswith(UNKNOWN) for reason in feed.degraded_reasons), (
                "an empty Redis was believed"
            )
            writer = make_writer(redis_server.url)
            writer.apply(FeatureBatch(edges=[(FOLLOW, VIEWER, 9, EdgeChange(1, False))]), {})
            end_s = time.monotonic() + DEADLINE_S
            while any(reason.startswith(UNKNOWN) for reason in feed.degraded_reasons):
                assert time.monotonic() < end_s, f"it did not recover: {feed.degraded_reasons}"
                await asyncio.sleep(0.1)
                feed = await client.get_scored_posts(VIEWER)
        assert await processes.terminate("mixer") == 0
