"""On a real Kafka the index holds what the topic says within seconds, and nothing else."""

import asyncio
import uuid

import pytest

from phoenix.index.corpus import Corpus
from phoenix.serving.follower import CorpusFollower
from phoenix.serving.service import LoggedOnly
from protos import events_pb2
from service_kit.clock import ManualClock, SystemClock
from service_kit.consumer import Consumer
from service_kit.event_log import TOPIC_POSTS, event_key
from service_kit.event_logs import open_sink, open_source
from service_kit.readiness import Readiness
from service_kit.settings import ServiceSettings
from service_kit.topics import DAY_MS, TopicSpec, ensure_topics

HOUR_MS = 3_600_000
SECONDS_MAX = 30.0  # bounds a failure on a busy machine


class Posts:
    """foryou.posts on a Kafka, and the index that follows it."""

    def __init__(self, settings, follower, sink):
        self.settings, self.follower, self._sink = settings, follower, sink

    async def publish(self, *values):
        await self._sink.append_many(TOPIC_POSTS, [(event_key(1), value, 0) for value in values])

    async def becomes(self, *post_ids):
        """Waits until exactly these posts are indexed."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                if self.follower.active.index.post_ids() == set(post_ids):
                    return
                await asyncio.sleep(0.01)


async def reaches(count, value):
    """Waits until `count()` is `value`: poison is counted behind the batch that it came with."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            if count() == value:
                return
            await asyncio.sleep(0.01)


def event(**fields):
    return events_pb2.PostEvent(**fields).SerializeToString()


@pytest.fixture
def hand(requests):
    """The clock by which posts age."""
    return ManualClock(requests.now_ms)


@pytest.fixture
async def posts(kafka_bootstrap_servers, tmp_path, worker, telemetry, metrics, retrieval, hand):
    settings = ServiceSettings(
        data_dir=tmp_path,
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        kafka_topic_prefix=f"p{uuid.uuid4().hex[:8]}.",
    )
    await ensure_topics(
        settings, specs=[TopicSpec(TOPIC_POSTS, "author", DAY_MS)], partitions=3, wait_s=60
    )
    corpus = Corpus(posts_max=200, retention_ms=48 * HOUR_MS)
    follower = CorpusFollower(corpus, worker, telemetry, hand, posts_max=200)
    await follower.install(retrieval)
    sink = await open_sink(settings, metrics=metrics)
    source = await open_source(settings, [TOPIC_POSTS], metrics=metrics)
    consumer = Consumer(
        source,
        follower.handle,
        name="corpus",
        clock=SystemClock(),
        metrics=metrics,
        readiness=Readiness(),
        ready_as="corpus",
        dead_letters=LoggedOnly(),
    )
    task = asyncio.create_task(consumer.run())
    yield Posts(settings, follower, sink)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await source.close()
    await sink.close()


async def test_posts_enter_leave_return_and_age_out_as_the_topic_says(posts, requests, hand):
    old, new = requests.post_id(1), requests.post_id(0)
    now_ms = requests.now_ms
    await posts.publish(
        event(create={"post_id": old, "author_id": 1}),
        event(create={"post_id": new, "author_id": 2}),
    )
    await posts.becomes(old, new)
    await posts.publish(event(delete={"post_id": new, "deleted_at_ms": now_ms}))
    await posts.becomes(old)
    await posts.publish(event(undelete={"post_id": new, "undeleted_at_ms": now_ms + 1}))
    await posts.becomes(old, new)
    hand.advance_ms(49 * HOUR_MS)
    await posts.publish(event(delete={"post_id": 1, "deleted_at_ms": now_ms}))  # time is looked at
    await posts.becomes()


async def test_events_of_no_use_are_counted_and_hide_nothing_behind_them(posts, requests, metrics):
    """Truncated, of another message's bytes, of an unknown kind, without an id, and dated ahead."""
    good = requests.post_id(0)
    whole = event(create={"post_id": requests.post_id(2), "author_id": 1, "text": "cut"})
    unknown_kind = b"\xfa\x07\x02hi"  # field 127: an event that a later version may know
    await posts.publish(
        whole[:-2],
        b"\xff" * 20,
        b"",
        unknown_kind,
        event(create={"author_id": 1}),
        event(create={"post_id": good, "author_id": 2, "created_at_ms": 1 << 50}),
    )
    await posts.becomes(good)
    await reaches(lambda: metrics.value("consumer_poison_total", topic=TOPIC_POSTS), 5)
