"""The compact topic carries all that thunder keeps, in few records, and bad ones stand alone."""

from __future__ import annotations

from typing import Any

import pytest

from protos import events_pb2
from service_kit.event_log import RECORD_BYTES_MAX, TOPIC_IN_NETWORK, Record, event_key
from service_kit.partitions import partition_of
from service_kit.settings import SettingsError
from thunder.events import PostBatch, decode_batch
from thunder.in_network import decode_in_network, encode, keys_of_partitions
from thunder.ingest import PostIngester
from thunder.settings import ThunderSettings
from thunder.shares import Share, ShareError


def as_posts(*events: Any) -> list[Record]:
    return [Record("p", 0, i, 0, b"", e.SerializeToString()) for i, e in enumerate(events)]


def as_compact(entries: list[tuple[bytes, bytes, int]], partitions: int = 12) -> list[Record]:
    return [
        Record(TOPIC_IN_NETWORK, partition_of(key, partitions), i, at_ms, key, value)
        for i, (key, value, at_ms) in enumerate(entries)
    ]


def events(bench: Any) -> list[Any]:
    return [
        bench.post(1, author=5, video=True, text="a text that thunder never keeps" * 20),
        bench.post(2, 6, in_reply_to_post_id=1, in_reply_to_user_id=5, conversation_id=1),
        bench.post(3, 7, reposted_post_id=1, reposted_user_id=5),
        bench.post(4, 8, age_ms=-5_000, in_reply_to_user_id=6),
        bench.delete(2, age_ms=3),
        bench.undelete(2, age_ms=1),
    ]


def test_everything_that_is_kept_survives_the_two_stages(bench: Any) -> None:
    direct, _ = decode_batch(as_posts(*events(bench)))
    compact, poisons = decode_in_network(as_compact(encode(direct, 1, 0), 1))
    assert poisons == []
    assert direct.posts().size == 4
    assert compact.posts().tolist() == direct.posts().tolist()
    assert compact.flags().tolist() == direct.flags().tolist()
    for ours, theirs in zip(compact.statuses(), direct.statuses(), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_a_create_is_small_and_keyed_by_its_author(bench: Any) -> None:
    batch, _ = decode_batch(as_posts(*events(bench)[:1]))
    ((key, value, _),) = encode(batch, 12, 0)
    assert key == event_key(5)
    assert len(value) < 50
    assert b"text" not in value


def test_a_reply_is_also_written_where_the_author_replied_to_is(bench: Any) -> None:
    partitions = 1 << 20  # so many that any two authors differ
    batch, _ = decode_batch(as_posts(*events(bench)[1:2]))
    assert [key for key, _, _ in encode(batch, partitions, 0)] == [event_key(6), event_key(5)]
    assert len(encode(batch, 1, 0)) == 1, "once where both are in one partition"


def test_ten_thousand_deletions_fit_a_record_and_reach_each_partition() -> None:
    ids = [(1 << 62) + i for i in range(25_000)]
    batch = PostBatch(
        status_ids=ids, status_times_ms=[1_750_000_000_000] * len(ids), status_dead=[1] * len(ids)
    )
    records = as_compact(encode(batch, 12, 0))
    assert len(records) == 3 * 12
    assert max(len(r.value) for r in records) < RECORD_BYTES_MAX / 2
    for partition in range(12):
        mine, _ = decode_in_network([r for r in records if r.partition == partition])
        assert mine.statuses()[0].tolist() == ids


@pytest.mark.parametrize("partitions", [1, 2, 12, 50])
def test_there_is_a_key_for_every_partition(partitions: int) -> None:
    keys = keys_of_partitions(partitions)
    assert [partition_of(key, partitions) for key in keys] == list(range(partitions))


def test_bad_records_are_poison_one_by_one(bench: Any) -> None:
    Event, Create = events_pb2.InNetworkEvent, events_pb2.InNetworkCreate  # noqa: N806 - types
    good = Event(create=Create(post_id=1, author_id=2, created_at_ms=bench.clock.now_ms()))
    nameless = Event(statuses=events_pb2.InNetworkStatuses(statuses=[{"changed_at_ms": 5}]))
    values = {
        "truncated": good.SerializeToString()[:-3],
        "no event": b"",
        "of a later version": bytes([15 << 3 | 2, 2, 1, 1]),
        "another topic's": bench.post(1).SerializeToString(),
        "no post": Event(create=Create(author_id=2)).SerializeToString(),
        "no author": Event(create=Create(post_id=2)).SerializeToString(),
        "a status of nothing": nameless.SerializeToString(),
        "good": good.SerializeToString(),
    }
    records = [Record(TOPIC_IN_NETWORK, 0, i, 0, b"", v) for i, v in enumerate(values.values())]
    batch, poisons = decode_in_network(records)
    assert len(poisons) == len(values) - 1
    assert all(poison.reason for poison in poisons)
    assert batch.posts()["post_id"].tolist() == [1]


def test_a_post_dated_ahead_is_passed_on_and_refused_and_counted_where_it_is_read(
    bench: Any,
) -> None:
    batch, poisons = decode_batch(as_posts(bench.post(1, age_ms=-90_000)))
    assert poisons == []
    ingester = PostIngester(bench.store, bench.counters, decode_in_network)
    assert ingester.take(as_compact(encode(batch, 1, 0), 1)) == []
    assert bench.metrics.value("events_total", kind="create", outcome="from_future") == 1
    bench.clock.advance_ms(90_000)
    assert bench.ids() == []


def test_a_deletion_without_an_author_is_honoured(bench: Any) -> None:
    assert bench.take(bench.post(1, age_ms=9), bench.delete(1)) == []
    assert bench.ids() == []


@pytest.mark.parametrize("text", ["2/2", "0/0", "a/b", "1", "-1/2", "0/2/3"])
def test_a_share_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ShareError, match=r"such as 0/2"):
        Share.parse(text)
    with pytest.raises(SettingsError, match="share"):
        ThunderSettings.load(share=text, mode="serving")


@pytest.mark.parametrize("mode", ["standalone", "feeder"])
def test_a_share_is_for_serving_only(mode: str) -> None:
    assert ThunderSettings.load(share="1/2", mode="serving").share == "1/2"
    with pytest.raises(SettingsError, match=f"share 1/2 in {mode} mode"):
        ThunderSettings.load(share="1/2", mode=mode)
