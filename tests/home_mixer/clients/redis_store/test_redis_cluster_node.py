"""One master of a cluster dies and comes back empty: its part is noticed, and filled again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_parts import redis

from home_mixer.clients.protocols import StoreError
from home_mixer.clients.redis.state import StoreLostError
from home_mixer.clients.writes import BLOCK, EdgeChange, FeatureBatch

USERS = range(1, 61)
DEADLINE_S = 60.0  # bounds failure alone: the machine may be busy
BLOCKS = FeatureBatch(edges=[(BLOCK, user, 900 + user, EdgeChange(5, False)) for user in USERS])


async def readable(graph: Any) -> list[int]:
    """Users whose lists can be read; each must be right."""
    found = []
    for user in USERS:
        try:
            features = await graph.get_features(user)
        except StoreError:
            continue
        assert features.blocked_user_ids.tolist() == [900 + user], "a block was forgotten"
        found.append(user)
    return found


async def until_known(call: Callable[[], object]) -> StoreLostError | None:
    """Calls until the cluster answers: None, or what it says it has lost."""
    end_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            await asyncio.to_thread(call)
        except StoreLostError as error:
            return error
        except StoreError:
            assert time.monotonic() < end_s, "the cluster did not come back"
            await asyncio.sleep(0.1)
        else:
            return None


async def test_a_master_that_came_back_empty_is_noticed_and_filled(
    tmp_path: Path, make_writer: Any, make_store: Any
) -> None:
    if not redis.available():
        pytest.skip(redis.HOW_TO_GET_IT)
    with redis.RedisCluster(tmp_path) as cluster:
        writer = make_writer(cluster.url)
        writer.apply(BLOCKS, {("foryou.graph", 0): 5})
        graph = make_store(cluster.url, timeout_s=5.0).clients().graph
        assert await readable(graph) == list(USERS)
        cluster.servers[1].kill()
        with pytest.raises(StoreError, match="Redis at"):
            writer.check()
        cluster.servers[1].start()
        lost = await until_known(writer.check)
        assert lost is not None
        assert "markers" in str(lost)
        spared = await readable(graph)
        assert 0 < len(spared) < len(USERS), "its users are refused, the others are not"
        assert await asyncio.to_thread(writer.positions) == {}
        assert await readable(graph) == spared
        assert await until_known(lambda: writer.apply(BLOCKS, {("foryou.graph", 0): 5})) is None
        assert writer.filled((0, 1))
        assert await readable(graph) == list(USERS)
