"""Retrieval must answer exactly the posts that may be shown, each by the tower in service."""

import asyncio
import random

import numpy as np
import pytest

from phoenix.index.corpus import Corpus
from phoenix.serving.follower import CorpusFollower
from protos import events_pb2
from service_kit.event_log import TOPIC_POSTS, Record

HOUR_MS = 3_600_000


@pytest.fixture
def follower(worker, telemetry, clock):
    corpus = Corpus(posts_max=200, retention_ms=48 * HOUR_MS)
    return CorpusFollower(corpus, worker, telemetry, clock, posts_max=200)


@pytest.fixture
def clock(requests):
    from service_kit.clock import ManualClock

    return ManualClock(requests.now_ms)


def record(offset=0, **event):
    value = events_pb2.PostEvent(**event).SerializeToString()
    return Record(TOPIC_POSTS, 0, offset, 0, b"", value)


class World:
    """Events of forty posts and what must remain of them."""

    def __init__(self, requests):
        self.ids = [requests.post_id(number) for number in range(40)]
        self.records = [
            record(create={"post_id": id_, "author_id": 1 + at % 7, "created_at_ms": 1})
            for at, id_ in enumerate(self.ids)
        ]
        now_ms = requests.now_ms
        for id_ in self.ids[:20]:
            self.records.append(record(delete={"post_id": id_, "deleted_at_ms": now_ms}))
        for id_ in self.ids[:10]:
            self.records.append(record(undelete={"post_id": id_, "undeleted_at_ms": now_ms + 1}))
        self.visible = set(self.ids[:10] + self.ids[20:])


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_events_and_a_new_model_in_between_end_in_the_same_index(
    follower, requests, retrieval, other_retrieval, seed
):
    world, rng = World(requests), random.Random(seed)
    records = world.records * 2  # delivered twice
    rng.shuffle(records)
    third = len(records) // 3
    await follower.handle(records[:third])
    await follower.install(retrieval)
    await follower.handle(records[third : 2 * third])
    swap = asyncio.create_task(follower.install(other_retrieval))
    await follower.handle(records[2 * third :])
    await swap
    live = follower.active
    assert live.index.post_ids() == world.visible
    ids = np.array(sorted(world.visible), np.uint64)
    authors = np.array([1 + world.ids.index(id_) % 7 for id_ in ids.tolist()], np.uint64)
    expected = other_retrieval.post_vectors(ids, authors)
    assert not np.allclose(expected, retrieval.post_vectors(ids, authors), atol=0.1)
    for id_, vector in zip(ids.tolist(), expected, strict=True):
        found = live.index.search(vector, len(ids))
        score = float(found.scores[found.post_ids == id_][0])
        assert score == pytest.approx(1.0, abs=1e-5)  # the new tower's own vector


async def test_a_deleted_post_is_gone_when_its_event_was_handled(follower, requests, retrieval):
    world = World(requests)
    await follower.install(retrieval)
    await follower.handle(world.records[:40])
    assert len(follower.active.index) == 40
    gone = record(delete={"post_id": world.ids[3], "deleted_at_ms": requests.now_ms})
    await follower.handle([gone])
    assert world.ids[3] not in follower.active.index.post_ids()


async def test_replies_and_reposts_are_not_retrieved_and_quotes_are(follower, requests, retrieval):
    await follower.install(retrieval)
    reply, repost, quote = (requests.post_id(number) for number in range(3))
    await follower.handle(
        [
            record(create={"post_id": reply, "author_id": 1, "in_reply_to_post_id": 5}),
            record(create={"post_id": repost, "author_id": 1, "reposted_post_id": 5}),
            record(create={"post_id": quote, "author_id": 1, "quoted_post_id": 5}),
        ]
    )
    assert follower.active.index.post_ids() == {quote}


async def test_posts_age_out_without_any_event(follower, requests, retrieval, clock):
    await follower.install(retrieval)
    await follower.handle(World(requests).records[:40])
    clock.advance_ms(48 * HOUR_MS - 10 * 61_000)
    await follower.advance()
    assert len(follower.active.index) == 11  # posts 0 to 10 are at most ten steps old


async def test_an_event_of_no_use_is_put_aside_and_the_others_count(follower, requests, retrieval):
    await follower.install(retrieval)
    good = record(create={"post_id": requests.post_id(1), "author_id": 1})
    bad = [
        Record(TOPIC_POSTS, 0, 1, 0, b"", b"\xff\xff"),
        Record(TOPIC_POSTS, 0, 2, 0, b"", b""),
        record(create={"post_id": 0}),
        record(delete={"post_id": 1 << 63}),
    ]
    poisons = await follower.handle([bad[0], good, *bad[1:]])
    assert [poison.record for poison in poisons] == bad
    assert len(follower.active.index) == 1


async def test_changes_that_failed_to_reach_the_index_reach_it_with_the_next(
    follower, requests, retrieval, worker
):
    await follower.install(retrieval)
    records = World(requests).records[:2]
    run, worker.run = worker.run, fail
    with pytest.raises(RuntimeError, match="out of memory"):
        await follower.handle(records)
    worker.run = run
    await follower.handle(records)
    assert len(follower.active.index) == 2


async def fail(function):
    raise RuntimeError("out of memory")


async def test_a_vector_that_is_not_finite_leaves_its_post_out_and_is_counted(
    follower, requests, retrieval, metrics
):
    class HalfBroken:
        version, dimension = "half", retrieval.dimension

        def post_vectors(self, ids, authors):
            vectors = retrieval.post_vectors(ids, authors)
            vectors[::2] = np.nan
            return vectors

    await follower.install(HalfBroken())
    await follower.handle(World(requests).records[:4])
    assert len(follower.active.index) == 2
    assert metrics.value("embed_failures_total") == 2
