"""A seeded viewer, posts and predictions, as both pipelines' in-memory clients see them.

Deterministic by seed. Sizes that matter: `candidates` rows come out of the two sources (four of
seven from thunder), 150 of them twice; the store knows all of them and 500 posts that others
repost and quote. Proportions are assumptions: 12 % reposts, 15 % replies, 8 % quotes, 15 % videos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from home_mixer.bloom import BloomFilter
from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.writes import (
    BLOCK,
    FOLLOW,
    MUTE,
    SUBSCRIBE,
    Action,
    EdgeChange,
    FeatureBatch,
    PostContent,
    Profile,
)
from home_mixer.columns import HEAD_COLUMNS
from home_mixer.params.loading import load_params
from home_mixer.query import ScoredPostsQuery, sorted_ids
from protos import events_pb2
from service_kit.snowflake import first_id_at, timestamp_ms

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
VIEWER_ID = 7
AUTHORS = 2_000
FOLLOWED = 400
SHARED_POSTS = 500  # what others repost and quote
DUPLICATES = 150
WORDS = tuple(f"word{i}" for i in range(2_000))
MUTED = ("word17", "word23 word24", "word1999")
LABELS = (
    events_pb2.VISIBILITY_LABEL_SPAM,
    events_pb2.VISIBILITY_LABEL_GORE,
    events_pb2.VISIBILITY_LABEL_ADULT,
    events_pb2.VISIBILITY_LABEL_DO_NOT_AMPLIFY,
)


@dataclass(frozen=True)
class FeedWorld:
    """What there is. heads: predictions [len(predicted_ids), 25], rows as the sorted ids."""

    query: ScoredPostsQuery
    contents: dict[int, PostContent]
    deleted: frozenset[int]
    labels: dict[int, int]
    profiles: dict[int, Profile]
    blocks_viewer: frozenset[int]
    follows_viewer: frozenset[int]
    actions: tuple[Action, ...]
    thunder_ids: tuple[int, ...]
    retrieval_ids: tuple[int, ...]
    predicted_ids: NDArray[np.uint64]
    heads: NDArray[np.float64]
    store: MemoryFeatureStore


def make_world(candidates: int, seed: int = 1, *, has_bloom_filter: bool = False) -> FeedWorld:
    """has_bloom_filter: 100 of the 300 seen posts come in a Bloom filter, the others as ids.

    ValueError when there are too few candidates for the fixed parts.
    """
    if candidates < 4 * DUPLICATES:
        raise ValueError(f"candidates is {candidates}; at least {4 * DUPLICATES} are expected")
    rng = np.random.default_rng(seed)
    thunder_count = candidates * 4 // 7
    retrieval_count = candidates - thunder_count - DUPLICATES
    ids = _post_ids(rng, SHARED_POSTS + thunder_count + retrieval_count)
    authors = np.arange(1_000, 1_000 + AUTHORS)
    followed = rng.choice(authors, FOLLOWED, replace=False)
    shared = ids[:SHARED_POSTS]
    contents: dict[int, PostContent] = {}
    for post_id in shared:
        author = int(rng.choice(authors))
        contents[post_id] = PostContent(author, _created_ms(post_id), text=_text(rng))
    thunder = ids[SHARED_POSTS : SHARED_POSTS + thunder_count]
    retrieval = ids[SHARED_POSTS + thunder_count :]
    for pool, writers in ((thunder, followed), (retrieval, authors)):
        for post_id in pool:
            contents[post_id] = _content(rng, post_id, int(rng.choice(writers)), shared, contents)
    own = thunder[0]
    contents[own] = contents[own]._replace(author_id=VIEWER_ID)
    twice = [int(one) for one in rng.choice(thunder, DUPLICATES, replace=False)]
    predicted = np.array(sorted(contents), np.uint64)
    rare = rng.choice(authors, 60, replace=False).tolist()
    world = FeedWorld(
        query=_query(rng, ids, has_bloom_filter),
        contents=contents,
        deleted=frozenset(rng.choice(ids, len(ids) // 50, replace=False).tolist()),
        labels={
            int(one): 1 << int(rng.choice(LABELS))
            for one in rng.choice(ids, len(ids) // 15, replace=False)
        },
        profiles={
            int(one): Profile(1, f"user{one}", bool(rng.random() < 0.1), int(rng.integers(10**6)))
            for one in authors
        },
        blocks_viewer=frozenset(rare[:20]),
        follows_viewer=frozenset(int(one) for one in rng.choice(followed, 150, replace=False)),
        actions=_actions(rng, ids, contents),
        thunder_ids=tuple(thunder),
        retrieval_ids=(*retrieval, *twice),
        predicted_ids=predicted,
        heads=_heads(rng, len(predicted)),
        store=MemoryFeatureStore(),
    )
    _fill(world, followed, rare)
    return world


def _post_ids(rng: np.random.Generator, count: int) -> list[int]:
    """Distinct snowflakes of the last 50 hours, 4 % of them too old to be shown."""
    times = NOW_MS - rng.integers(0, 50 * HOUR_MS, count)
    return [first_id_at(int(at)) + i for i, at in enumerate(times)]


def _created_ms(post_id: int) -> int:
    return timestamp_ms(post_id)


def _content(
    rng: np.random.Generator,
    post_id: int,
    author: int,
    shared: list[int],
    contents: dict[int, PostContent],
) -> PostContent:
    kind, other = rng.random(), shared[int(rng.integers(len(shared)))]
    content = PostContent(author, _created_ms(post_id), text=_text(rng))
    if rng.random() < 0.15:
        content = content._replace(video_duration_ms=int(rng.integers(1, 90_000)), has_media=True)
    if rng.random() < 0.02:
        content = content._replace(subscription_author_id=author)
    theirs = contents[other].author_id
    if kind < 0.12:
        return content._replace(reposted_post_id=other, reposted_user_id=theirs, text="")
    if kind < 0.27:
        root = shared[int(rng.integers(len(shared)))]
        return content._replace(
            in_reply_to_post_id=other, in_reply_to_user_id=theirs, conversation_id=root
        )
    if kind < 0.35:
        return content._replace(quoted_post_id=other, quoted_user_id=theirs)
    return content


def _text(rng: np.random.Generator) -> str:
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), 12))


def _heads(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Small probabilities, seconds for dwell; four heads are missing, as with a real model."""
    heads = rng.beta(0.5, 12.0, (count, len(HEAD_COLUMNS)))
    heads[:, HEAD_COLUMNS.index("p_dwell_time")] = rng.gamma(2.0, 4.0, count)
    heads[:, [3, 11, 19, 22]] = np.nan
    return heads


def _actions(
    rng: np.random.Generator, ids: list[int], contents: dict[int, PostContent]
) -> tuple[Action, ...]:
    chosen = [int(one) for one in rng.choice(ids, 150, replace=False)]
    return tuple(
        Action(
            acted_at_ms=_created_ms(one) + int(rng.integers(0, HOUR_MS)),
            post_id=one,
            action=int(action),
            author_id=contents[one].author_id,
            product_surface=1,
            seconds=0.0,
        )
        for one in chosen
        for action in rng.choice(np.arange(1, 11), 2, replace=False)
    )


def _query(rng: np.random.Generator, ids: list[int], has_bloom_filter: bool) -> ScoredPostsQuery:
    seen = rng.choice(ids, 300, replace=False)
    bloom = BloomFilter.sized_for(sorted_ids(seen[200:]), 0.001)
    return ScoredPostsQuery(
        viewer_id=VIEWER_ID,
        request_id="bench",
        now_ms=NOW_MS,
        params=load_params("x-2026-10"),
        country_code="US",
        language_code="en",
        seen_ids=sorted_ids(seen[:200] if has_bloom_filter else seen),
        served_ids=sorted_ids(rng.choice(ids, 60, replace=False)),
        bloom_filters=(bloom,) if has_bloom_filter else (),
    )


def _fill(world: FeedWorld, followed: NDArray[np.int64], rare: list[int]) -> None:
    added = EdgeChange(1, False)
    batch = FeatureBatch()
    batch.contents = list(world.contents.items())
    batch.statuses = [(one, True, NOW_MS) for one in world.deleted]
    batch.labels = [(one, bits, NOW_MS) for one, bits in world.labels.items()]
    lists = [(FOLLOW, followed.tolist()), (BLOCK, rare[20:30]), (MUTE, rare[30:40])]
    lists.append((SUBSCRIBE, rare[40:]))
    batch.edges = [(kind, VIEWER_ID, int(one), added) for kind, users in lists for one in users]
    batch.edges += [(BLOCK, one, VIEWER_ID, added) for one in world.blocks_viewer]
    batch.edges += [(FOLLOW, one, VIEWER_ID, added) for one in world.follows_viewer]
    batch.keywords = [(VIEWER_ID, word, added) for word in MUTED]
    batch.profiles = list(world.profiles.items())
    batch.actions = [(VIEWER_ID, action) for action in world.actions]
    world.store.apply(batch, {})
