"""The known faults of the original's store, T1 to T24, one named test each: none comes back.

Those of its Kafka consumers and producer (T1 to T5, T23) are also in test_two_stages.py and
test_restarts.py, on a real broker. T25, a source that does not compile, is a thing of the past.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from protos import events_pb2
from service_kit.clock import SystemClock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.dead_letters import Poison
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import TOPIC_POSTS, event_key
from service_kit.readiness import Readiness
from thunder.layout import ROW
from thunder.rwlock import ReadWriteLock
from thunder.service import SERVICE_NAME
from thunder.store import PostStore

RETENTION_MS = 172_800_000
MINUTE_MS = 60_000


class Following:
    """A consumer of real log files in front of a store on the machine's clock."""

    def __init__(self, bench: Any, directory: Path, partitions: int = 1) -> None:
        self.bench = bench
        self.writer = EmbeddedLogWriter(directory, partitions={TOPIC_POSTS: partitions})
        self.readiness = Readiness()
        self.consumer = Consumer(
            EmbeddedLogSource(directory, [TOPIC_POSTS]),
            bench.ingester,
            name="posts",
            clock=SystemClock(),
            metrics=bench.metrics,
            readiness=self.readiness,
            ready_as=SERVICE_NAME,
            dead_letters=self.writer,
            options=ConsumerOptions(batch_records=1000, poll_timeout_s=0.01, backoff_s_min=0.001),
        )

    def write(self, *events: Any) -> None:
        values = [e if isinstance(e, bytes) else e.SerializeToString() for e in events]
        entries = [(event_key(i), value, 0) for i, value in enumerate(values)]
        self.writer.append_many_sync(TOPIC_POSTS, entries)

    async def caught_up(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.consumer.run())
        await asyncio.wait_for(self.consumer.caught_up.wait(), 20)
        return task


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the store has no event to wait for
            await asyncio.sleep(0.001)


async def test_t01_a_short_topic_is_caught_up_without_a_full_batch(
    bench: Any, tmp_path: Path
) -> None:
    following = Following(bench, tmp_path)
    following.write(bench.post(1))
    task = await following.caught_up()
    assert bench.ids() == [1]
    assert following.readiness.serving(SERVICE_NAME)
    await stop(task)


async def test_t02_catching_up_works_for_any_number_of_partitions(
    make_bench: Any, tmp_path: Path
) -> None:
    for partitions in (1, 3, 8):
        bench = make_bench()
        following = Following(bench, tmp_path / str(partitions), partitions)
        following.write(*(bench.post(i) for i in range(1, 6)))  # some partitions stay empty
        task = await following.caught_up()
        assert len(bench.ids()) == 5
        await stop(task)


async def test_t03_a_single_event_is_served_without_company(bench: Any, tmp_path: Path) -> None:
    following = Following(bench, tmp_path)
    task = await following.caught_up()
    following.write(bench.post(7))
    await until(lambda: bench.ids() == [7])
    await stop(task)


def test_t04_a_failed_append_is_raised_and_nothing_is_recorded_as_done(tmp_path: Path) -> None:
    """An append raises in the caller instead of being logged; what the feeder makes of that is in
    test_two_stages.py."""
    (tmp_path / TOPIC_POSTS).write_text("a file where the topic's directory should be")
    writer = EmbeddedLogWriter(tmp_path)
    with pytest.raises(OSError, match=TOPIC_POSTS):
        writer.append_many_sync(TOPIC_POSTS, [(b"", b"x", 0)])


async def test_t05_a_broken_event_neither_stops_the_consumer_nor_spoils_its_batch(
    bench: Any, tmp_path: Path
) -> None:
    following = Following(bench, tmp_path)
    empty = events_pb2.PostEvent()
    following.write(bench.post(1), b"\xff\xff", empty, bench.post(0), bench.post(2, author=0))
    following.write(bench.post(3))
    task = await following.caught_up()
    assert sorted(bench.ids()) == [1, 3]
    assert following.readiness.serving(SERVICE_NAME)
    assert bench.metrics.value("consumer_poison_total", topic=TOPIC_POSTS) == 4
    await stop(task)


async def test_t05_a_consumer_that_cannot_work_is_not_ready(bench: Any, tmp_path: Path) -> None:
    following = Following(bench, tmp_path)
    task = await following.caught_up()

    def broken(_: Any) -> list[Poison]:
        raise MemoryError("no memory for the batch")

    bench.ingester.take = broken
    following.write(bench.post(1))
    await until(lambda: not following.readiness.serving(SERVICE_NAME))
    assert "no memory" in following.readiness.state(SERVICE_NAME).reason
    await stop(task)


def test_t06_a_post_of_this_very_millisecond_is_served(bench: Any) -> None:
    bench.take(bench.post(1, age_ms=0))
    assert bench.ids() == [1]


def test_t06_a_post_dated_slightly_ahead_is_kept_and_served_when_due(bench: Any) -> None:
    bench.take(bench.post(1, age_ms=-MINUTE_MS), bench.post(2, age_ms=-MINUTE_MS - 1))
    assert bench.ids() == []
    bench.clock.advance_ms(MINUTE_MS - 1)
    assert bench.ids() == []
    bench.clock.advance_ms(2)
    assert bench.ids() == [1], "beyond the tolerance a post is refused"
    assert bench.metrics.value("events_total", kind="create", outcome="from_future") == 1


def test_t07_future_times_never_look_old(bench: Any) -> None:
    bench.take(bench.post(1, age_ms=-30_000), bench.delete(2, age_ms=-30_000))
    assert bench.store.trim() == 0
    assert bench.store.sizes().posts == 1
    assert bench.store.sizes().tombstones == 1
    far = 1 << 62
    bench.take(bench.post(3, age_ms=-far), bench.delete(1, age_ms=-far), bench.post(4, age_ms=far))
    bench.clock.advance_ms(30_000)
    assert bench.ids() == [1]


def test_t08_trimming_works_by_time_whatever_the_arrival_order(bench: Any) -> None:
    bench.take(bench.post(1, age_ms=1000))
    bench.take(bench.post(2, age_ms=RETENTION_MS - 1000))  # late and old, behind a newer one
    bench.take(bench.post(3, age_ms=500))
    assert bench.ids() == [3, 1, 2]
    bench.clock.advance_ms(1001)
    assert bench.ids() == [3, 1], "too old is not served, trimmed or not"
    assert bench.store.trim() == 1
    assert bench.store.sizes().posts == 2


def test_t09_deleted_posts_use_up_no_scan_window(bench: Any) -> None:
    bench.take(*(bench.post(i, age_ms=1000 - i) for i in range(1, 601)))
    bench.take(*(bench.delete(i) for i in range(101, 601)))
    assert bench.ids() == list(range(100, 50, -1)), "the newest 50 of the 100 that are left"


def test_t10_a_delete_that_comes_before_its_create_holds(bench: Any) -> None:
    bench.take(bench.delete(1, age_ms=5))
    bench.take(bench.post(1, age_ms=10))
    assert bench.ids() == []


def test_t10_the_newest_event_time_decides_in_every_order(make_bench: Any) -> None:
    for order in itertools.permutations(range(4)):
        for split in (1, 4):
            bench = make_bench()
            events = [
                bench.post(1, age_ms=40),
                bench.delete(1, age_ms=30),
                bench.undelete(1, age_ms=20),
                bench.delete(1, age_ms=25),
            ]
            chosen = [events[i] for i in order]
            for at in range(0, 4, split):
                bench.take(*chosen[at : at + split])
            assert bench.ids() == [1], order


def test_t10_a_delete_and_an_undelete_of_one_time_leave_the_post_deleted(make_bench: Any) -> None:
    for first, second in (("delete", "undelete"), ("undelete", "delete")):
        bench = make_bench()
        bench.take(bench.post(1, age_ms=10))
        bench.take(getattr(bench, first)(1))
        bench.take(getattr(bench, second)(1))
        assert bench.ids() == []


def test_t11_reposts_of_a_deleted_post_disappear_and_come_back(bench: Any) -> None:
    bench.take(bench.post(1, author=2, age_ms=20))
    bench.take(bench.post(5, age_ms=10, reposted_post_id=1, reposted_user_id=2))
    assert bench.ids(1) == [5]
    bench.take(bench.delete(1, age_ms=5))
    assert bench.ids(1) == []
    bench.take(bench.undelete(1))
    assert bench.ids(1) == [5]


def test_t11_the_deleted_post_may_be_unknown_or_trimmed_by_then(bench: Any) -> None:
    bench.take(bench.delete(77, age_ms=5))  # its create never came
    bench.take(bench.post(5, reposted_post_id=77, reposted_user_id=2))
    assert bench.ids() == []
    bench.take(bench.post(1, author=2, age_ms=RETENTION_MS - 1000))
    bench.take(bench.post(6, reposted_post_id=1, reposted_user_id=2), bench.delete(1))
    bench.clock.advance_ms(2000)
    assert bench.store.trim() == 1
    assert bench.ids() == [], "the repost outlives its source, not the source's deletion"


def test_t12_an_authors_list_is_bounded_and_videos_keep_their_posts(bench: Any) -> None:
    count = 5_003
    bench.take(*(bench.post(i, age_ms=count - i, video=i % 2 == 0) for i in range(1, count + 1)))
    sizes = bench.store.sizes()
    assert sizes.originals == sizes.posts == 5_000
    assert sizes.videos == 2_500
    assert bench.ids(videos=True)[:2] == [5_002, 5_000]
    bench.take(bench.post(90_000, age_ms=count + 5))
    assert bench.metrics.value("events_total", kind="create", outcome="author_full") == 1


def test_t12_full_memory_drops_the_oldest_and_says_so(make_bench: Any) -> None:
    bench = make_bench(posts_max=64)
    bench.take(*(bench.post(i, author=1 + i % 5, age_ms=1000 - i) for i in range(1, 101)))
    everyone = (1, 2, 3, 4, 5)
    assert bench.ids(*everyone) == list(range(100, 36, -1))
    assert bench.store.evicted_posts == 36
    bench.take(bench.post(500, age_ms=2000))
    assert bench.metrics.value("events_total", kind="create", outcome="no_room") == 1


def test_t13_everything_of_an_expired_author_is_given_back(bench: Any) -> None:
    bench.take(*(bench.post(i, author=i % 50 + 1, video=True) for i in range(1, 2001)))
    used = bench.store.sizes().bytes_in_use
    for _ in range(3):
        bench.clock.advance_ms(RETENTION_MS + 1)
        assert bench.store.trim() == 2000
        sizes = bench.store.sizes()
        assert (sizes.posts, sizes.authors, sizes.videos) == (0, 0, 0)
        bench.take(*(bench.post(i, author=i % 50 + 1, video=True) for i in range(1, 2001)))
    assert bench.store.sizes().bytes_in_use <= used, "freed room is used again"


def test_t14_author_zero_is_no_author(bench: Any) -> None:
    poisons = bench.take(bench.post(1, author=0), bench.delete(2))
    assert len(poisons) == 1
    assert bench.ids(0) == []
    assert bench.store.sizes().authors == 0
    assert bench.store.sizes().originals == 0, "a tombstone is no post"


def test_t15_an_author_named_twice_counts_once(bench: Any) -> None:
    bench.take(bench.post(1, age_ms=2), bench.post(2, author=2, age_ms=1))
    found = bench.found(1, 2, 1, 1, 2)
    assert found.posts["post_id"].tolist() == [2, 1]
    assert found.authors_scanned == 2


def test_t15_who_is_cut_does_not_depend_on_the_order_of_the_list(bench: Any) -> None:
    bench.take(*(bench.post(i, author=i % 7 + 1, age_ms=1000 - i) for i in range(1, 200)))
    forwards = bench.ids(*range(1, 8), results_max=20)
    assert forwards == bench.ids(*range(7, 0, -1), results_max=20) == list(range(199, 179, -1))


def test_t16_running_out_of_time_is_said_in_the_answer(bench: Any) -> None:
    authors = range(1, 3000)
    bench.take(*(bench.post(i, author=i) for i in authors))
    looks = iter([False, True])
    found = bench.found(*authors, out_of_time=lambda: next(looks), results_max=5000)
    assert found.partial
    assert 0 < found.posts.size == found.authors_scanned < 2999
    assert not bench.found(*authors).partial


async def test_t17_a_cancelled_calls_place_is_free_only_when_its_work_is_done(serve: Any) -> None:
    async with serve(max_concurrent_requests=1) as served:
        with served.bench.store._lock.writing():  # the query waits for this batch
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await served.ask(deadline_s=0.3)
            with pytest.raises(grpc.aio.AioRpcError) as full:
                await served.ask(deadline_s=20)
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert full.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: served.metrics.value("in_flight_requests") == 0)
        assert (await served.ask(deadline_s=20)).partial is False


def test_t17_a_query_stops_when_its_caller_is_gone(bench: Any) -> None:
    bench.take(bench.post(1))
    found = bench.found(1, out_of_time=lambda: True)
    assert (found.partial, found.authors_scanned, found.posts.size) == (True, 0, 0)


@pytest.mark.parametrize("step_ms", [1, 1_000])
def test_t18_the_newest_are_found_without_looking_at_everything(bench: Any, step_ms: int) -> None:
    bench.take(
        *(bench.post(i, author=i % 100 + 1, age_ms=(9000 - i) * step_ms) for i in range(1, 8001))
    )
    found = bench.found(*range(1, 101), results_max=10)
    assert found.posts["post_id"].tolist() == list(range(8000, 7990, -1))
    assert found.counts["entries_seen"] < 200, "an author's walk ends at the first older post"


def test_t19_a_reposts_video_counts_whichever_came_first(make_bench: Any) -> None:
    for source_first in (True, False):
        bench = make_bench()
        source = bench.post(1, author=2, age_ms=10, video=True)
        repost = bench.post(5, reposted_post_id=1, reposted_user_id=2)
        for event in (source, repost) if source_first else (repost, source):
            bench.take(event)
        assert bench.ids(1, videos=True) == [5]


def test_t20_a_quoting_post_stays_when_the_quoted_one_goes_and_undelete_restores(
    bench: Any,
) -> None:
    bench.take(bench.post(1, age_ms=9, quoted_post_id=8, quoted_user_id=3))
    gone = events_pb2.QuotedPostDelete(quoting_post_id=1, quoting_author_id=1, quoted_post_id=8)
    bench.take(events_pb2.PostEvent(quoted_post_delete=gone))
    assert bench.ids() == [1]
    bench.take(bench.delete(1, age_ms=2))
    assert bench.ids() == []
    bench.take(bench.undelete(1, age_ms=1))
    assert bench.ids() == [1]


async def test_t21_calls_before_readiness_are_refused_not_answered_empty(serve: Any) -> None:
    async with serve() as served:
        served.readiness.set(SERVICE_NAME, False, "posts is catching up")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.ask()
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert refused.value.details() == "posts is catching up"


def test_t22_posts_of_one_time_have_one_order(bench: Any) -> None:
    rng = np.random.default_rng(1)
    for post_id in rng.permutation(np.arange(1, 300)).tolist():
        bench.take(bench.post(post_id, author=post_id % 9 + 1))
    assert bench.ids(*range(1, 10), results_max=100) == list(range(299, 199, -1))


def test_t23_a_replay_of_the_whole_topic_is_quick(bench: Any) -> None:
    """A start without a snapshot (test_restarts.py has those) replays the log, so the store's part
    of it must be small: 100,000 posts are inserted in a fraction of what decoding them costs."""
    posts = np.zeros(100_000, ROW)
    posts["post_id"] = np.arange(1, posts.size + 1)
    posts["author_id"] = 1 + np.arange(posts.size) % 997
    posts["created_at_ms"] = bench.clock.now_ms() - posts.size + np.arange(posts.size)
    store = PostStore(bench.clock, posts_max=posts.size)
    flags = np.zeros(posts.size, np.uint8)
    assert store.insert(posts, flags) == {"applied": posts.size}
    assert store.insert(posts, flags) == {"duplicate": posts.size}, "a replay changes nothing"
    assert store.sizes().posts == posts.size


async def test_t24_one_request_counts_once_under_its_own_kind(serve: Any) -> None:
    async with serve() as served:
        await served.ask()
        await served.ask(is_video_request=True)
        await served.ask(is_video_request=True)
        count = served.metrics.value
        assert count("requests_total", kind="posts", code="OK") == 1
        assert count("requests_total", kind="videos", code="OK") == 2


def test_readers_and_a_writer_take_turns() -> None:
    """Without this a query could read arrays that a batch is moving."""
    lock = ReadWriteLock()
    held = {"readers": 0, "writers": 0}
    errors: list[str] = []

    def read() -> None:
        for _ in range(300):
            with lock.reading():
                held["readers"] += 1
                if held["writers"]:
                    errors.append("read while writing")
                held["readers"] -= 1

    def write() -> None:
        for _ in range(300):
            with lock.writing():
                held["writers"] += 1
                if held["writers"] > 1:
                    errors.append("two writers")
                held["writers"] -= 1

    threads = [threading.Thread(target=work) for work in (read, read, write, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)
