"""The shares' merged answers are what one large thunder answers: real stores, the real feeder's
records, the real merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from home_mixer.clients.thunder_answers import InNetworkAnswer, decode_answer
from home_mixer.sources.thunder_source import merged, rank_in_group
from protos import events_pb2
from protos.thunder_pb2 import LightPost
from service_kit.clock import ManualClock
from service_kit.event_log import Record
from service_kit.metrics import Metrics
from service_kit.partitions import partition_of, share_of
from thunder.answers import encode_answer
from thunder.events import decode_batch
from thunder.in_network import decode_in_network, encode
from thunder.ingest import PostIngester
from thunder.metrics import ThunderMetrics
from thunder.shares import Share
from thunder.store import PostStore, Query

PARTITIONS = 12
AUTHORS = range(1, 9)
NOW_MS = 1_750_000_000_000
Event = events_pb2.PostEvent
Create, Media = events_pb2.PostCreate, events_pb2.Media


class Replica:
    """One share, fed by its partitions of the compact topic."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.store = PostStore(ManualClock(NOW_MS), posts_max=2_000)
        counters = ThunderMetrics(Metrics("thunder"))
        self._ingester = PostIngester(self.store, counters, decode_in_network, share)

    def take(self, records: Sequence[Record]) -> None:
        mine = [r for r in records if r.partition % self.share.count == self.share.index]
        assert self._ingester.take(mine) == []

    def ask(self, query: Query) -> InNetworkAnswer:
        return decode_answer(encode_answer(self.store.query(query)))


class Town:
    """One thunder with everything, and the same split into shares."""

    def __init__(self, shares: int) -> None:
        self.whole = Replica(Share())
        self.shares = [Replica(Share(i, shares)) for i in range(shares)]

    def happen(self, events: Sequence[Any], order: np.random.Generator) -> None:
        posts = [Record("p", 0, i, 0, b"", e.SerializeToString()) for i, e in enumerate(events)]
        batch, poisons = decode_batch(posts)
        assert poisons == []
        entries = encode(batch, PARTITIONS, NOW_MS)
        order.shuffle(entries)
        records = [
            Record("c", partition_of(key, PARTITIONS), i, at_ms, key, value)
            for i, (key, value, at_ms) in enumerate(entries)
        ]
        for replica in (self.whole, *self.shares):
            replica.take(records)

    def compare(self, query: Query, secondary_max: int = 30) -> list[int]:
        """Both answer the same posts in the same order; their ids."""
        whole = self.whole.ask(query)
        answers = [replica.ask(query) for replica in self.shares]
        together = merged(answers, query.results_max, secondary_max)
        assert np.array_equal(together, whole.posts)
        ids: list[int] = together[LightPost.POST_ID_FIELD_NUMBER].tolist()
        return ids


def ask(viewer: int = 99, following: Sequence[int] = AUTHORS, **options: Any) -> Query:
    options = {"excluded_ids": np.array([], np.uint64), "results_max": 1_200, **options}
    return Query(viewer, np.array(following, np.uint64), **options)


def create(post_id: int, author: int, age_ms: int, **fields: Any) -> Any:
    made = Create(post_id=post_id, author_id=author, created_at_ms=NOW_MS - age_ms, **fields)
    return Event(create=made)


@st.composite
def worlds(draw: st.DrawFn) -> list[Any]:
    """Posts that refer to one another by their true authors, deletions and their undoing."""
    authors: list[int] = []
    events: list[Any] = []
    for post_id in range(1, draw(st.integers(1, 60)) + 1):
        authors.append(draw(st.sampled_from(AUTHORS)))
        fields: dict[str, Any] = {}
        kind = draw(st.sampled_from(["original", "original", "reply", "reply", "repost"]))
        other = draw(st.integers(1, post_id))  # itself and unknown ones do no harm
        if kind == "reply":
            fields = {"in_reply_to_post_id": other, "in_reply_to_user_id": authors[other - 1]}
            if draw(st.booleans()):
                fields["conversation_id"] = draw(st.integers(1, post_id))
        elif kind == "repost":
            fields = {"reposted_post_id": other, "reposted_user_id": authors[other - 1]}
        if draw(st.booleans()):
            fields["media"] = [Media(kind=Media.KIND_VIDEO, duration_ms=9_000)]
        age_ms = draw(st.integers(0, 20))
        events.append(create(post_id, authors[-1], age_ms, **fields))
        if draw(st.integers(0, 4)) == 0:
            deleted = events_pb2.PostDelete(post_id=other, deleted_at_ms=NOW_MS - 5)
            events.append(Event(delete=deleted))
        if draw(st.integers(0, 8)) == 0:
            back = events_pb2.PostUndelete(post_id=other, undeleted_at_ms=NOW_MS - age_ms)
            events.append(Event(undelete=back))
    return events


@settings(max_examples=60)
@given(
    world=worlds(),
    shares=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 1000),
    following=st.lists(st.sampled_from(AUTHORS), min_size=1, max_size=8),
    results_max=st.sampled_from([1, 3, 10, 1200]),
    secondary_max=st.sampled_from([1, 2, 30]),
)
def test_the_union_of_the_shares_is_the_whole(
    world: list[Any],
    shares: int,
    seed: int,
    following: list[int],
    results_max: int,
    secondary_max: int,
) -> None:
    town = Town(shares)
    town.happen(world, np.random.default_rng(seed))
    caps = {"results_max": results_max, "secondary_per_author_max": secondary_max}
    for viewer in (99, 1):
        town.compare(ask(viewer, following, **caps), secondary_max)
    everything = ask(1, following, results_max=1_200, videos=True)
    town.compare(everything, secondary_max=1_200)


def authors_of_different_shares(shares: int = 2) -> tuple[int, int]:
    mine = np.array([1], np.uint64)
    others = np.arange(2, 50, dtype=np.uint64)
    differ = others[share_of(others, shares) != share_of(mine, shares)[0]]
    return 1, int(differ[0])


def test_a_reply_to_a_post_in_another_share_is_shown_and_goes_with_it() -> None:
    author, other = authors_of_different_shares()
    town = Town(2)
    rng = np.random.default_rng(1)
    reply = create(2, author, 10, in_reply_to_post_id=1, in_reply_to_user_id=other)
    town.happen([create(1, other, 20), reply], rng)
    assert town.compare(ask(following=[author])) == [2]
    deletion = events_pb2.PostDelete(post_id=1, author_id=other, deleted_at_ms=NOW_MS - 5)
    town.happen([Event(delete=deletion)], rng)
    assert town.compare(ask(following=[author])) == []


def test_reposts_of_a_post_that_was_deleted_in_another_share_disappear() -> None:
    author, other = authors_of_different_shares()
    town = Town(2)
    rng = np.random.default_rng(1)
    repost = create(2, author, 10, reposted_post_id=1, reposted_user_id=other)
    town.happen([create(1, other, 20), repost], rng)
    assert town.compare(ask(following=[author])) == [2]
    deletion = events_pb2.PostDelete(post_id=1, author_id=other, deleted_at_ms=NOW_MS - 5)
    town.happen([Event(delete=deletion)], rng)
    assert town.compare(ask(following=[author])) == []


def test_one_authors_replies_into_several_shares_keep_to_the_cap() -> None:
    author, other = authors_of_different_shares()
    town = Town(2)
    events = [create(1, author, 9_000), create(2, other, 9_000)]
    for i in range(10, 100):
        parent, user = (1, author) if i % 2 else (2, other)
        events.append(
            create(i, author, 1_000 - i, in_reply_to_post_id=parent, in_reply_to_user_id=user)
        )
    town.happen(events, np.random.default_rng(1))
    assert len(town.compare(ask(following=[author]))) == 31, "the original and the newest thirty"


def test_a_share_keeps_about_its_part() -> None:
    town = Town(2)
    events = [create(i, i % 1000 + 1, i) for i in range(1, 1501)]
    town.happen(events, np.random.default_rng(1))
    sizes = [replica.store.sizes().posts for replica in town.shares]
    assert sum(sizes) == 1500
    assert min(sizes) > 600


@pytest.mark.parametrize("groups", [[], [5], [5, 5, 3, 5, 3]])
def test_ranks_count_what_came_before(groups: list[int]) -> None:
    ranks = rank_in_group(np.array(groups, np.uint64)).tolist()
    assert ranks == [groups[:i].count(group) for i, group in enumerate(groups)]
