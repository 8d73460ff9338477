"""Rows of docs/degradation.md: Kafka, thunder's feeder, and a disk without room."""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any

import pytest

from protos import events_pb2 as pb
from service_kit.snowflake import first_id_at

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SIDE_EFFECTS = "foryou_home_mixer_component_runs_total"
SERVED = {"stage": "SideEffect", "component": "ServedCandidatesEventSideEffect"}


def fresh_post(author_id: int) -> pb.PostCreate:
    now_ms = time.time_ns() // 1_000_000
    return pb.PostCreate(
        post_id=first_id_at(now_ms) + 7, author_id=author_id, created_at_ms=now_ms, text="fresh"
    )


async def test_kafka_killed(town: Any) -> None:
    """No feed needs Kafka. Everything that reads it goes on where it was."""
    town.needs_wires()
    (broker,) = town.kafka.brokers

    async def kill() -> None:
        await asyncio.to_thread(broker.kill)

    async def start() -> None:
        await asyncio.to_thread(broker.start)

    await town.outage("kafka killed", kill, start)
    await news_arrive(town)


async def test_kafka_paused(town: Any) -> None:
    """Served events wait behind the feeds, never before them."""
    town.needs_wires()
    (broker,) = town.kafka.brokers

    async def pause() -> None:
        broker.pause()

    async def resume() -> None:
        broker.resume()

    await town.outage("kafka paused", pause, resume, outage_s=8)
    await news_arrive(town)


async def news_arrive(town: Any) -> None:
    """A post reaches thunder through the feeder, and a mute the feed through the ingester."""
    viewer = town.viewers[2]
    post, mute = fresh_post(viewer), await town.muted(viewer)
    await town.emit(pb.PostEvent(create=post))
    await town.emit(mute)
    await town.until_thunder_has(post)
    await town.until_clean(viewer)


async def test_feeder_killed(town: Any) -> None:
    """Feeds lack what was posted meanwhile, and get it when the feeder is back."""
    town.needs_wires()
    post = fresh_post(town.viewers[3])
    kill, start = town.killing("feeder")

    async def kill_and_post() -> None:
        await kill()
        await town.emit(pb.PostEvent(create=post))

    await town.outage("thunder feeder killed", kill_and_post, start)
    await town.until_thunder_has(post)


async def test_disk_full(embedded_town: Any) -> None:
    """Feeds are answered; what they leave behind is not kept, and is counted."""
    town = embedded_town
    pid = town.processes.running["home-mixer"].pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    async def runs(outcome: str) -> float:
        return float(await town.metric("home-mixer", SIDE_EFFECTS, outcome=outcome, **SERVED))

    async def more(outcome: str, before: float) -> bool:
        return await runs(outcome) > before

    failed = await runs("failed")

    async def fill() -> None:
        """Every further byte that it writes is refused by the kernel, as by a full disk."""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))

    async def free() -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    await town.outage("disk full", fill, free)
    assert await runs("failed") > failed
    written = await runs("ok")
    await town.outage("disk free again", free, free, outage_s=0.5)
    await town.until(lambda: more("ok", written), "served events are written again")
