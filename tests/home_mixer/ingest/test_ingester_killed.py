"""An ingester that is killed in the middle loses nothing and repeats no effect."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from home_mixer.clients.embedded import EmbeddedFeatureStore
from home_mixer.ingest.decode import INGESTED_TOPICS
from home_mixer.ingest.handler import FeatureIngester
from protos import events_pb2
from service_kit.clock import SystemClock
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_POSTS, event_key
from service_kit.metrics import Metrics
from service_kit.snowflake import first_id_at

MAP_BYTES = 256 << 20
POSTS = ACTIONS = 10_000
START_MS = SystemClock().now_ms() - 3_600_000


def post_id(number: int) -> int:
    return first_id_at(START_MS) + number


@pytest.fixture
def log(tmp_path: Path) -> EmbeddedLogWriter:
    log = EmbeddedLogWriter(tmp_path / "log")
    posts, actions = [], []
    for number in range(1, POSTS + 1):
        create = events_pb2.PostCreate(
            post_id=post_id(number), author_id=1 + number % 7, created_at_ms=START_MS, text="t"
        )
        event = events_pb2.PostEvent(create=create)
        posts.append((event_key(create.author_id), event.SerializeToString(), START_MS))
    for number in range(1, ACTIONS + 1):
        action = events_pb2.ActionEvent(
            user_id=1 + number % 100,
            post_id=post_id(number),
            author_id=1,
            action=1,
            acted_at_ms=START_MS + number,
        )
        actions.append((event_key(action.user_id), action.SerializeToString(), START_MS))
    log.append_many_sync(TOPIC_POSTS, posts)
    log.append_many_sync(TOPIC_ACTIONS, actions)
    return log


async def test_killed_and_resumed(tmp_path: Path, log: EmbeddedLogWriter) -> None:
    program = f"""
import sys
from home_mixer.ingester import main
from home_mixer.settings import IngesterSettings
sys.exit(main(IngesterSettings(
    data_dir={str(tmp_path)!r}, batch_records=100, feature_map_bytes={MAP_BYTES},
    metrics_port=-1, log_level="ERROR")))
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.DEVNULL
    )
    store = EmbeddedFeatureStore(tmp_path / "features", map_bytes=MAP_BYTES)
    async with asyncio.timeout(60):
        # another process' progress: there is nothing to await
        while sum(store.writer.positions().values()) < 1_000:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    stored = sum(store.writer.positions().values())
    assert stored < POSTS + ACTIONS, "the kill came too late to test anything"

    source = EmbeddedLogSource(tmp_path / "log", INGESTED_TOPICS)
    ingester = FeatureIngester(store.writer, log, SystemClock(), Metrics("ingester"))
    await ingester.resume(source)
    read = 0
    while records := await source.poll(5_000, 0.0):
        await ingester.handle(records)
        read += len(records)
    assert read == POSTS + ACTIONS - stored
    ids = np.array([post_id(number) for number in range(1, POSTS + 1)], np.uint64)
    assert (await store.clients().posts.get_posts(ids)).found.all()
    counts = [len(await store.clients().actions.newest_actions(u, 4_096)) for u in range(1, 101)]
    assert counts == [ACTIONS // 100] * 100
    store.close()
    await log.close()
