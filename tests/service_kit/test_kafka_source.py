"""What a follower meets on a real Kafka and must neither skip, lose nor wait for in vain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import (
    CommitFailedError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from service_kit.event_log import Entry, LogUnavailableError, Record, TopicError, event_key
from service_kit.kafka import source as source_module
from service_kit.kafka.link import Link, LogMetrics
from service_kit.metrics import Metrics
from service_kit.partitions import partition_of


def entries(count: int, first: int = 0) -> list[Entry]:
    return [(event_key(i), b"%d" % i, 1_000) for i in range(first, first + count)]


async def admin_of(bench: Any) -> Any:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.servers)
    await admin.start()
    return admin


async def test_shares_together_read_everything_once_and_each_keeps_its_authors(
    kafka_bench: Any,
) -> None:
    await kafka_bench.create(partitions=4)
    await (await kafka_bench.sink()).append_many("events", entries(200))
    seen: list[bytes] = []
    for part in (0, 1):
        source = await kafka_bench.source(share=(part, 2))
        ends = await source.end_offsets()
        records = await kafka_bench.read(source, sum(ends.values()))
        assert {partition_of(r.key, 2) for r in records} == {part}
        seen += [r.value for r in records]
    assert sorted(seen) == sorted(value for _, value, _ in entries(200))


async def test_partitions_that_cannot_be_dealt_out_are_refused_in_words(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=3)
    source = await kafka_bench.source(share=(0, 2))
    with pytest.raises(TopicError, match=r"3 partitions.*2 shares.*--partitions"):
        await source.end_offsets()
    with pytest.raises(TopicError, match="multiple of 2"):
        await source.poll(10, 0.1)


async def test_partitions_that_are_added_are_read_from_their_start(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=1)
    source = await kafka_bench.source(start="latest")
    admin = await admin_of(kafka_bench)
    await admin.create_partitions({kafka_bench.prefix + "events": NewPartitions(total_count=4)})
    await admin.close()
    sink = await kafka_bench.sink()  # one that knows of four
    await sink.append_many("events", entries(40))
    records = await kafka_bench.read(source, 40)
    assert len({r.partition for r in records}) == 4


async def test_events_that_retention_removed_are_told_and_the_rest_is_read(
    kafka_bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A follower that was away for too long must not wait for ever, nor skip in silence."""
    await kafka_bench.create(partitions=1)
    await (await kafka_bench.sink()).append_many("events", entries(10))
    source = await kafka_bench.source()
    assert len(await source.poll(3, 10)) == 3
    admin = await admin_of(kafka_bench)
    at = TopicPartition(kafka_bench.prefix + "events", 0)
    await admin.delete_records({at: RecordsToDelete(before_offset=7)})
    await admin.close()
    late = await kafka_bench.source()
    late.seek("events", 0, 3)
    assert [r.offset for r in await kafka_bench.read(late, 3)] == [7, 8, 9]
    assert kafka_bench.metrics.value("event_log_skipped_total", topic="events") == 4
    assert "retention is too short" in caplog.text
    assert await late.start_offsets() == {("events", 0): 7}


async def test_a_topic_that_was_made_anew_is_read_from_its_start(kafka_bench: Any) -> None:
    """Its offsets begin at nought again: a follower far ahead would wait for days."""
    await kafka_bench.create(partitions=1)
    await (await kafka_bench.sink()).append_many("events", entries(2))
    source = await kafka_bench.source()
    source.seek("events", 0, 500)
    assert [r.value for r in await kafka_bench.read(source, 2)] == [b"0", b"1"]
    assert kafka_bench.metrics.value("event_log_resets_total", topic="events") == 1
    assert kafka_bench.metrics.value("event_log_skipped_total", topic="events") == 0


async def test_a_topic_that_vanishes_is_an_outage_and_not_a_thing_to_create(
    kafka_bench: Any,
) -> None:
    """A broker that has just started may not know its topics yet: nobody should be called."""
    await kafka_bench.create(partitions=1)
    source = await kafka_bench.source()
    await source.end_offsets()
    admin = await admin_of(kafka_bench)
    await admin.delete_topics([kafka_bench.prefix + "events"])
    await admin.close()
    reasons = ""
    async with asyncio.timeout(90):
        while "knows no topic" not in reasons:
            try:
                await source.end_offsets()
            except LogUnavailableError as error:  # and no TopicError
                reasons += str(error)


async def test_a_connection_that_fell_silent_is_replaced(
    kafka_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client library's fetching may die without a word; a follower would wait for ever."""
    monkeypatch.setattr(source_module, "SILENT_S_MAX", 0.5)
    await kafka_bench.create(partitions=1)
    sink = await kafka_bench.sink()
    await sink.append_many("events", entries(3))
    source = await kafka_bench.source()
    assert len(await source.poll(2, 10)) == 2
    fetching = source._client._fetcher._fetch_task
    fetching.cancel()
    await asyncio.wait([fetching])
    await sink.append("events", b"k", b"waits", 0)
    source.seek("events", 0, 2)  # what was fetched before is thrown away
    values: list[bytes] = []
    async with asyncio.timeout(60):
        while len(values) < 2:
            values += [r.value for r in await source.poll(10, 0.3)]
            await source.end_offsets()
    assert values == [b"2", b"waits"]
    assert kafka_bench.metrics.value("event_log_reconnects_total") == 1


async def test_offsets_without_an_event_do_not_look_like_events_to_wait_for(
    kafka_bench: Any,
) -> None:
    """A foreign transaction ends in a marker that has an offset and is never returned."""
    await kafka_bench.create(partitions=1)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_bench.servers, transactional_id=kafka_bench.prefix
    )
    await producer.start()
    for _ in range(3):
        async with producer.transaction():
            await producer.send(kafka_bench.prefix + "events", b"v", b"k")
    await producer.stop()
    source = await kafka_bench.source()
    ends = await source.end_offsets()
    assert ends == {("events", 0): 6}
    assert len(await kafka_bench.read(source, 3)) == 3
    async with asyncio.timeout(30):
        while source.positions() != ends:
            assert await source.poll(10, 0.2) == []


async def test_an_event_without_key_or_value_is_read_as_empty_bytes(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bench.servers)
    await producer.start()
    await producer.send_and_wait(kafka_bench.prefix + "events", b"no key")
    await producer.send_and_wait(kafka_bench.prefix + "events", None, b"no value")
    await producer.stop()
    records = await kafka_bench.read(await kafka_bench.source(), 2)
    assert [(r.key, r.value) for r in records] == [(b"", b"no key"), (b"no value", b"")]


async def test_records_are_not_copied_by_the_client(kafka_bench: Any) -> None:
    """After an upgrade of the client that hides its inside, ingestion would be half as fast."""
    await kafka_bench.create(partitions=1)
    sink, source = await kafka_bench.sink(), await kafka_bench.source()
    await sink.append("events", b"k", b"v", 5)
    batch = await source.poll_batch(10, 30.0)
    assert not isinstance(batch.runs[0].rows[0], ConsumerRecord)
    assert [(r.offset, r.key, r.value) for r in batch] == [(0, b"k", b"v")]


async def test_going_back_reads_again_what_was_taken_out_ahead(kafka_bench: Any) -> None:
    """The next batch is taken out while a full one is handled: a handler that fails must not lose
    it, of whatever partition it is, nor a smaller poll get more than it asked for."""
    await kafka_bench.create(partitions=2)
    sink, source = await kafka_bench.sink(), await kafka_bench.source()
    keys = [event_key(number) for number in range(40)]
    await sink.append_many("events", [(key, b"v", 5) for key in keys])
    seen: list[Record] = []
    while len(seen) < 40:
        batch = await source.poll_batch(7, 5.0)
        await asyncio.sleep(0.01)  # as a handler would: the next batch is out by now
        if len(seen) < 14 or len(seen) % 2:
            first = dict(batch.firsts())
            for (topic, partition), offset in first.items():
                source.seek(topic, partition, offset)
            again = await kafka_bench.read(source, 1)
            seen += again
            continue
        smaller = await source.poll_batch(2, 5.0)
        assert len(smaller) <= 2
        seen += [*batch, *smaller]
    places = [(record.partition, record.offset) for record in seen]
    assert len(set(places)) == len(places) == 40
    for partition in {0, 1}:
        mine = [offset for number, offset in places if number == partition]
        assert mine == sorted(mine)


async def test_a_member_of_a_group_that_leaves_is_replaced_and_nothing_is_lost(
    kafka_bench: Any,
) -> None:
    await kafka_bench.create(partitions=4)
    sink = await kafka_bench.sink()
    await sink.append_many("events", entries(100))
    first = await kafka_bench.source(group="feeders", start="committed")
    before = await kafka_bench.read(first, 100)
    await first.commit()
    await sink.append_many("events", entries(100, first=100))
    await kafka_bench.read(first, 1)  # taken and not committed: its successor must read it
    second = await kafka_bench.source(group="feeders", start="committed")
    joining = asyncio.create_task(second.end_offsets())
    await first.close()
    ends = await joining
    assert sum(ends.values()) == 200, "the one that is left has every partition"
    after = await kafka_bench.read(second, 100)
    assert {r.value for r in before} | {r.value for r in after} == {b"%d" % i for i in range(200)}


async def test_two_members_of_a_group_share_the_partitions(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=4)
    sources = [await kafka_bench.source(group="g", start="committed") for _ in range(2)]

    async def partitions_of_each() -> list[int]:
        return [len(await source.end_offsets()) for source in sources]

    async with asyncio.timeout(60):
        while await partitions_of_each() != [2, 2]:
            await asyncio.gather(*(source.poll(10, 0.1) for source in sources))
    await (await kafka_bench.sink()).append_many("events", entries(100))
    values: set[bytes] = set()
    async with asyncio.timeout(60):
        while len(values) < 100:
            for records in await asyncio.gather(*(s.poll(100, 0.2) for s in sources)):
                values |= {r.value for r in records}
    assert [len(source.positions()) for source in sources] == [2, 2]


async def test_two_installations_on_one_kafka_do_not_share_a_group(
    kafka_bench: Any, bench_of: Any
) -> None:
    """Each would wait for the other's members at every restart."""
    other = bench_of(kafka_bench.servers)
    for bench in (kafka_bench, other):
        await bench.create(partitions=2)
        source = await bench.source(group="g", start="committed")
        assert len(await source.end_offsets()) == 2
    groups = {item._group for bench in (kafka_bench, other) for item in bench._opened}
    assert groups == {kafka_bench.prefix + "g", other.prefix + "g"}


async def test_a_refusal_is_not_told_as_an_absence() -> None:
    link = Link("broker:9092", "posts", LogMetrics.of(Metrics("test")))
    assert "refuses" in str(link.lost(TopicAuthorizationFailedError("posts")))
    assert "is it running" in str(link.lost(KafkaConnectionError("nobody there")))


async def test_a_commit_of_partitions_that_moved_on_is_counted_and_harmless(
    kafka_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their new owner reads again what was not committed; the old one must not die of it."""
    await kafka_bench.create(partitions=1)
    await (await kafka_bench.sink()).append_many("events", entries(5))
    slow = await kafka_bench.source(group="g", start="committed")
    await kafka_bench.read(slow, 5)

    async def passed_by(offsets: Any) -> None:
        raise CommitFailedError

    with monkeypatch.context() as patched:
        patched.setattr(slow._client, "commit", passed_by)
        await slow.commit()
    assert kafka_bench.metrics.value("event_log_lost_commits_total") == 1
    await slow.commit()
    assert kafka_bench.metrics.value("event_log_lost_commits_total") == 1
