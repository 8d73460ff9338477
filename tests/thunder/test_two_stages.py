"""Feeder and serving replicas on both logs: what is posted is answered, whole or in shares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from real_parts.kafka import free_ports

from service_kit.clock import SystemClock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS, LogUnavailableError
from service_kit.metrics import Metrics
from service_kit.partitions import share_of
from service_kit.readiness import Readiness
from thunder.feeder import FEEDER_NAME, GROUP, Feeder, FeedHandler
from thunder.metrics import FeederMetrics
from thunder.replica import Thunder
from thunder.service import SERVICE_NAME
from thunder.settings import ThunderSettings

DEAD_TOPIC = TOPIC_POSTS + ".dead"


def author_of(post_id: int) -> int:
    return post_id % 40 + 1


def a_world(stages: Any) -> list[Any]:
    """Originals, replies, reposts and deletions by 40 authors; ids 1 to 400."""
    events: list[Any] = []
    for i in range(1, 401):
        links = {}
        if i % 5 == 0:
            links = {"in_reply_to_post_id": i - 1, "in_reply_to_user_id": author_of(i - 1)}
        elif i % 7 == 0:
            links = {"reposted_post_id": i - 3, "reposted_user_id": author_of(i - 3)}
        events.append(stages.post(i, author=author_of(i), age_ms=60_000 - i, **links))
        if i % 11 == 0:
            events.append(stages.delete(i // 2))
    return events


async def test_two_stages_answer_what_one_answers(stages: Any) -> None:
    await stages.write(*a_world(stages))
    alone = await stages.start("standalone")
    await stages.start("feeder")
    serving = await stages.start("serving")
    everyone = range(1, 41)
    expected = alone.ids(*everyone)
    assert len(expected) > 200
    await stages.until(lambda: serving.ids(*everyone) == expected)


async def test_two_shares_hold_each_about_half_and_together_everything(stages: Any) -> None:
    await stages.write(*a_world(stages))
    alone = await stages.start("standalone")
    await stages.start("feeder")
    shares = [await stages.start("serving", share=f"{i}/2") for i in range(2)]
    everyone = range(1, 41)
    expected = sorted(alone.ids(*everyone))

    def together() -> list[int]:
        return sorted(post for share in shares for post in share.ids(*everyone))

    await stages.until(lambda: together() == expected)
    for index, share in enumerate(shares):
        posts = share.store.query(stages.query(everyone)).posts
        plain = posts[(posts["in_reply_to_post_id"] == 0) & (posts["source_post_id"] == 0)]
        assert plain.size > 50
        assert set(share_of(plain["author_id"], 2).tolist()) == {index}


async def test_t03_an_event_of_a_quiet_topic_is_answered_within_a_second(stages: Any) -> None:
    """The original waits for a full batch of a thousand."""
    await stages.start("feeder")
    serving = await stages.start("serving")
    for post_id in (1, 2, 3):
        await stages.write(stages.post(post_id))
        written_s = time.monotonic()
        await stages.until(lambda post_id=post_id: post_id in serving.ids(1))
        assert time.monotonic() - written_s < 1.0
    assert await stages.partitions(TOPIC_IN_NETWORK) == 12


async def test_t05_poison_goes_aside_and_the_rest_is_fed(stages: Any) -> None:
    feeder = await stages.start("feeder")
    serving = await stages.start("serving")
    await stages.write(stages.post(1), b"\xff\xff not protobuf", stages.post(2))
    await stages.until(lambda: sorted(serving.ids(1)) == [1, 2])
    value = feeder.metrics.value
    await stages.until(lambda: value("consumer_poison_total", topic=TOPIC_POSTS) == 1)
    dead = await stages.read(DEAD_TOPIC, 1)
    assert dead[0].value.endswith(b"\xff\xff not protobuf")
    assert b"DecodeError" in dead[0].value
    assert feeder.readiness.serving(FEEDER_NAME)


class FailingSink:
    """A log that acknowledges nothing until it is mended."""

    def __init__(self, sink: Any) -> None:
        self.mended = False
        self.refused = 0
        self._sink = sink

    async def append_many(self, topic: str, entries: Sequence[Any]) -> None:
        if not self.mended:
            self.refused += 1
            raise LogUnavailableError("the log acknowledges nothing")
        await self._sink.append_many(topic, entries)

    async def flush(self) -> None:
        await self._sink.flush()


async def test_t04_what_was_not_acknowledged_is_not_committed_and_sent_again(stages: Any) -> None:
    """The original logs a failed send and commits: the posts are gone."""
    await stages.write(stages.post(1), stages.post(2))
    sink = FailingSink(await stages.sink())
    source = await stages.source([TOPIC_POSTS], group=GROUP, start="committed")
    readiness, metrics = Readiness(), stages.new_metrics()
    consumer = Consumer(
        source,
        FeedHandler(sink, 12, SystemClock(), FeederMetrics(metrics)),  # type: ignore[arg-type]
        name="feeder",
        clock=SystemClock(),
        metrics=metrics,
        readiness=readiness,
        ready_as=FEEDER_NAME,
        dead_letters=await stages.sink(),
        options=ConsumerOptions(commit=True, commit_interval_s=0.01, backoff_s_max=0.1),
    )
    running = asyncio.create_task(consumer.run())
    await stages.until(lambda: sink.refused > 4)
    assert not readiness.serving(FEEDER_NAME)
    assert "acknowledges nothing" in readiness.state(FEEDER_NAME).reason
    sink.mended = True
    await stages.until(lambda: readiness.serving(FEEDER_NAME))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    serving = await stages.start("serving")
    assert sorted(serving.ids(1)) == [1, 2]
    assert metrics.value("consumer_poison_total", topic=TOPIC_POSTS) == 0, "none was given up"


async def test_a_feeder_that_dies_before_its_commit_repeats_and_loses_nothing(stages: Any) -> None:
    await stages.write(stages.post(1), stages.post(2))
    source = await stages.source([TOPIC_POSTS], group=GROUP, start="committed")
    await source.end_offsets()
    records: list[Any] = []
    while len(records) < 2:
        records += await source.poll(10, 1.0)
    metrics = FeederMetrics(stages.new_metrics())
    handler = FeedHandler(await stages.sink(), 12, SystemClock(), metrics)
    assert await handler(records) == []  # sent and acknowledged; never committed
    await source.close()
    await stages.start("feeder")
    serving = await stages.start("serving")
    await stages.until(
        lambda: serving.metrics.value("events_total", kind="create", outcome="duplicate") == 2
    )
    assert sorted(serving.ids(1)) == [1, 2]


@pytest.mark.parametrize("posts", [0, 1])
async def test_t01_a_short_topic_is_caught_up_within_five_seconds(stages: Any, posts: int) -> None:
    """The original notices only together with a full batch, so it never does."""
    await stages.write(*(stages.post(i) for i in range(1, posts + 1)))
    await stages.start("feeder")
    await stages.until_written(TOPIC_IN_NETWORK, posts)
    started_s = time.monotonic()
    serving = await stages.start("serving")
    assert serving.readiness.serving(SERVICE_NAME)
    assert time.monotonic() - started_s < 5.0
    assert len(serving.ids(1)) == posts


@pytest.mark.parametrize("partitions", [1, 3, 24])
async def test_t02_catching_up_works_for_any_number_of_partitions(
    stages: Any, partitions: int
) -> None:
    """The original waits for as many threads as it was told, also where fewer have partitions."""
    async with stages.anew(partitions) as others:
        await others.write(*(others.post(i, author=i) for i in range(1, 6)))  # some stay empty
        await others.start("feeder")
        await others.until_written(TOPIC_IN_NETWORK, 5)
        serving = await others.start("serving")
        assert len(serving.ids(*range(1, 6))) == 5
        assert await others.partitions(TOPIC_IN_NETWORK) == partitions


async def test_a_number_of_shares_that_the_partitions_do_not_allow_is_said(stages: Any) -> None:
    await stages.write(stages.post(1))
    await stages.start("feeder")
    wrong = stages.make("serving", share="1/5")
    starting = asyncio.create_task(wrong.thunder.start())
    await stages.until(lambda: "5 shares" in wrong.readiness.state(SERVICE_NAME).reason)
    assert not wrong.readiness.serving(SERVICE_NAME)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_log_that_is_away_at_the_start_is_waited_for_and_said(
    tmp_path: Any, until: Any
) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    for mode, name in (("serving", SERVICE_NAME), ("feeder", FEEDER_NAME)):
        settings = ThunderSettings(mode=mode, data_dir=tmp_path, kafka_bootstrap_servers=nobody)
        readiness = Readiness()
        make = Feeder if mode == "feeder" else Thunder
        process = make(settings, SystemClock(), Metrics("thunder"), readiness)
        starting = asyncio.create_task(process.start())
        state = readiness.state
        await until(lambda name=name, state=state: "does not answer" in state(name).reason)
        assert nobody in readiness.state(name).reason
        assert not starting.done()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await process.stop()


async def test_a_topic_that_is_missing_is_said_with_the_way_to_make_it(
    kafka_bootstrap_servers: str, tmp_path: Any, until: Any
) -> None:
    settings = ThunderSettings(
        mode="serving",
        data_dir=tmp_path,
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        kafka_topic_prefix="nothing.here.",
    )
    readiness = Readiness()
    process = Thunder(settings, SystemClock(), Metrics("thunder"), readiness)
    starting = asyncio.create_task(process.start())
    await until(lambda: "foryou topics" in readiness.state(SERVICE_NAME).reason)
    assert "nothing.here." + TOPIC_IN_NETWORK in readiness.state(SERVICE_NAME).reason
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await process.stop()


async def test_many_deletions_reach_every_partition_in_few_records(stages: Any) -> None:
    await stages.write(*(stages.post(i, author=i, age_ms=10) for i in range(1, 201)))
    await stages.start("feeder")
    serving = await stages.start("serving")
    await stages.until(lambda: serving.store.sizes().posts == 200)
    await stages.write(*(stages.delete(i) for i in range(1, 201)))
    await stages.until(lambda: serving.store.sizes().dead_posts == 200)
    ends = await (await stages.source([TOPIC_IN_NETWORK])).end_offsets()
    assert sum(ends.values()) < 200 + 12 * 20, "statuses travel together"
    assert np.all(np.array(list(ends.values())) > 0)
