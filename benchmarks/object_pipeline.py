"""The feed's rules over one object a candidate, beside the columnar version and with its results.

Components and order are those of `columnar_pipeline`; stores are dictionaries. Texts are cut by the
same cached tokenizer, Bloom filters are probed key by key with the same hashes.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np

from benchmarks.feed_world import FeedWorld
from benchmarks.object_candidate import Candidate, Candidates, ObjectPipeline, Updater
from home_mixer.bloom import BloomFilter
from home_mixer.clients.protocols import UserFeatures
from home_mixer.columns import (
    HEADS,
    SERVED_IN_NETWORK,
    SERVED_PHOENIX_RETRIEVAL,
    VISIBILITY_DROP,
    VISIBILITY_UNKNOWN,
    YES,
)
from home_mixer.filters.muted_keyword_filter import CACHED_TEXTS_MAX
from home_mixer.query import ActionSequence, ScoredPostsQuery
from home_mixer.query_hydrators.user_action_sequence_query_hydrator import RAW_ACTIONS_MAX
from home_mixer.tokenizer import KeywordMatcher, tokenize_text
from home_mixer.visibility_rules import verdict
from service_kit.snowflake import FIRST_SNOWFLAKE_ID, SNOWFLAKE_EPOCH_MS

QUOTED_FIELDS = (
    "quoted_author_id",
    "quoted_text",
    "reposted_text",
    "reposted_subscription_author_id",
)
CORE_FIELDS = (
    "created_at_ms",
    "in_reply_to_post_id",
    "in_reply_to_user_id",
    "conversation_id",
    "reposted_post_id",
    "reposted_user_id",
    "text",
    "ancestors",
    "quoted_post_id",
    "has_media",
    "core_data_found",
)
IDENTITY_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Candidate)
    if field.name not in ("post_id", "sources", "heads")
)[:25]


def object_pipeline(world: FeedWorld, *, clones_once: bool = False) -> ObjectPipeline:
    """The same lists as `columnar_pipeline`."""
    return ObjectPipeline(
        query_hydrators=[QueryFeatures(world).hydrate],
        sources=[Sources(world).thunder, Sources(world).retrieval],
        hydrator_groups=hydrator_groups(world),
        filters=[
            drop_duplicates,
            core_data,
            age,
            selfpost,
            repost_dedup,
            ineligible_subscription,
            PreviouslySeen().keep,
            previously_served,
            MutedKeywords().keep,
            author_socialgraph,
        ],
        scorers=scorers(world),
        late_hydrators=[
            Updater(Labels(world).hydrate, ("visibility_action", "visibility_reason")),
            author_hydrator(world),
        ],
        late_filters=[visibility, dedup_conversation],
        clones_once=clones_once,
    )


class QueryFeatures:
    """What the three query hydrators add, from the same stores."""

    def __init__(self, world: FeedWorld) -> None:
        self._store = world.store

    async def hydrate(self, query: ScoredPostsQuery) -> ScoredPostsQuery:
        rows = await self._store.newest_actions(query.viewer_id, RAW_ACTIONS_MAX)
        features: UserFeatures = await self._store.get_features(query.viewer_id)
        params = query.params
        served = await self._store.served_since(
            query.viewer_id,
            query.now_ms - params.served_history_window_seconds * 1000,
            params.served_history_posts_max,
        )
        return dataclasses.replace(
            query,
            action_sequence=_aggregated(rows, params.user_action_window_ms),
            followed_user_ids=features.followed_user_ids,
            blocked_user_ids=features.blocked_user_ids,
            muted_user_ids=features.muted_user_ids,
            subscribed_user_ids=features.subscribed_user_ids,
            muted_keywords=features.muted_keywords,
            user_features_age_ms=0,
            served_history_ids=np.sort(served),
        )


def _aggregated(rows: Any, window_ms: int) -> ActionSequence:
    """One event a post and window, in plain loops."""
    events: dict[int, list[list[Any]]] = defaultdict(list)
    actions = zip(
        rows.post_id.tolist(), rows.author_id.tolist(), rows.acted_at_ms.tolist(),
        rows.action.tolist(), rows.seconds.tolist(), rows.product_surface.tolist(), strict=True,
    )  # fmt: skip
    for post, author, at_ms, action, seconds, surface in actions:
        windows = events[post]
        if not windows or at_ms >= windows[-1][2] + window_ms:
            windows.append([post, author, at_ms, 0, 0.0, surface])
        windows[-1][3] |= 1 << (action - 1)
        windows[-1][4] = max(windows[-1][4], seconds)
    flat = sorted((e for windows in events.values() for e in windows), key=lambda e: (e[2], e[0]))
    columns: list[Any] = list(zip(*flat, strict=True)) or [()] * 6
    types = (np.uint64, np.uint64, np.int64, np.uint32, np.float32, np.int8)
    return ActionSequence(*(np.array(c, t) for c, t in zip(columns, types, strict=True)))


class Sources:
    """Thunder's and retrieval's posts, one new object each."""

    def __init__(self, world: FeedWorld) -> None:
        self._thunder = [(one, world.contents[one]) for one in world.thunder_ids]
        self._found = [(one, world.contents[one].author_id) for one in world.retrieval_ids]

    async def thunder(self, query: ScoredPostsQuery) -> Candidates:
        return [
            Candidate(
                post_id=post_id,
                author_id=post.author_id,
                created_at_ms=post.created_at_ms,
                in_reply_to_post_id=post.in_reply_to_post_id or None,
                in_reply_to_user_id=post.in_reply_to_user_id or None,
                conversation_id=post.conversation_id or None,
                reposted_post_id=post.reposted_post_id or None,
                reposted_user_id=post.reposted_user_id or None,
                ancestors=_ancestors(post.in_reply_to_post_id, post.conversation_id),
                served_type=SERVED_IN_NETWORK,
            )
            for post_id, post in self._thunder
        ]

    async def retrieval(self, query: ScoredPostsQuery) -> Candidates:
        return [
            Candidate(post_id=post_id, author_id=author, served_type=SERVED_PHOENIX_RETRIEVAL)
            for post_id, author in self._found
        ]


def hydrator_groups(world: FeedWorld) -> list[list[Updater]]:
    """Groups, as the second needs what core data say, and the third what the second says."""
    posts = world.contents

    async def in_network(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        followed = set(query.followed_user_ids.tolist())
        return [
            Candidate(in_network=c.author_id == query.viewer_id or c.author_id in followed)
            for c in candidates
        ]

    async def mutual(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        both = set(query.followed_user_ids.tolist()) & world.follows_viewer
        return [Candidate(mutual_follow=c.author_id in both) for c in candidates]

    async def core(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        return [_core(posts.get(c.post_id), c) for c in candidates]

    async def video(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        found = (posts.get(c.post_id) for c in candidates)
        return [Candidate(video_duration_ms=p.video_duration_ms if p else None) for p in found]

    async def subscription(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        found = (posts.get(c.post_id) for c in candidates)
        return [
            Candidate(subscription_author_id=(p.subscription_author_id or None) if p else None)
            for p in found
        ]

    async def quoted(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        return [_quoted(world, c) for c in candidates]

    async def blocked_by(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        blockers = world.blocks_viewer
        return [
            Candidate(
                author_blocks_viewer=c.author_id in blockers
                or c.reposted_user_id in blockers
                or c.quoted_author_id in blockers
            )
            for c in candidates
        ]

    return [
        [
            Updater(in_network, ("in_network",)),
            Updater(mutual, ("mutual_follow",)),
            Updater(core, CORE_FIELDS),
            Updater(video, ("video_duration_ms",)),
            Updater(subscription, ("subscription_author_id",)),
        ],
        [Updater(quoted, QUOTED_FIELDS)],
        [Updater(blocked_by, ("author_blocks_viewer",))],
    ]


def author_hydrator(world: FeedWorld) -> Updater:
    """Late, as in a feed: names of the posts that may be shown."""
    profiles = world.profiles

    async def author(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        return [_author(profiles, c) for c in candidates]

    names = ("author_screen_name", "author_verified", "author_followers_count")
    return Updater(author, (*names, "reposted_screen_name"))


def _core(post: Any, known: Candidate) -> Candidate:
    if post is None:
        fields = {name: getattr(known, name) for name in CORE_FIELDS}
        return Candidate(**{**fields, "core_data_found": False})
    return Candidate(
        created_at_ms=post.created_at_ms,
        in_reply_to_post_id=post.in_reply_to_post_id or None,
        in_reply_to_user_id=post.in_reply_to_user_id or None,
        conversation_id=post.conversation_id or None,
        reposted_post_id=post.reposted_post_id or None,
        reposted_user_id=post.reposted_user_id or None,
        text=post.text,
        ancestors=_ancestors(post.in_reply_to_post_id, post.conversation_id),
        quoted_post_id=post.quoted_post_id or None,
        has_media=post.has_media,
        core_data_found=True,
    )


def _quoted(world: FeedWorld, c: Candidate) -> Candidate:
    fresh = Candidate()
    if c.quoted_post_id:
        post = world.contents.get(c.quoted_post_id)
        fresh.quoted_author_id = post.author_id if post else 0
        shown = post is not None and c.quoted_post_id not in world.deleted
        fresh.quoted_text = post.text if post and shown else ""
    if c.reposted_post_id:
        post = world.contents.get(c.reposted_post_id)
        shown = post is not None and c.reposted_post_id not in world.deleted
        fresh.reposted_text = post.text if post and shown else ""
        fresh.reposted_subscription_author_id = post.subscription_author_id if post else None
    return fresh


def _author(profiles: Any, c: Candidate) -> Candidate:
    profile = profiles.get(c.author_id)
    reposted = profiles.get(c.reposted_user_id) if c.reposted_user_id else None
    fresh = Candidate(reposted_screen_name=reposted.screen_name if reposted else "")
    if profile is not None:
        fresh.author_screen_name = profile.screen_name
        fresh.author_verified = profile.verified
        fresh.author_followers_count = profile.followers_count
    return fresh


def _ancestors(parent: int, root: int) -> tuple[int, ...]:
    if not parent:
        return ()
    return (parent, root) if root not in (0, parent) else (parent,)


def drop_duplicates(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    first: dict[int, Candidate] = {}
    for c in candidates:
        known = first.setdefault(c.post_id, c)
        if known is not c:
            known.sources |= c.sources
            for name in IDENTITY_FIELDS:
                if not getattr(known, name) and getattr(c, name):
                    setattr(known, name, getattr(c, name))
    return list(first.values())


def core_data(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    return [c for c in candidates if c.author_id and c.core_data_found is not False]


def age(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    oldest_ms = query.now_ms - query.params.max_post_age_seconds * 1_000
    return [
        c
        for c in candidates
        if c.post_id >= FIRST_SNOWFLAKE_ID and (c.post_id >> 22) + SNOWFLAKE_EPOCH_MS >= oldest_ms
    ]


def selfpost(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    return [c for c in candidates if c.author_id != query.viewer_id]


def repost_dedup(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    first: dict[int, Candidate] = {}
    for c in candidates:
        first.setdefault(c.reposted_post_id or c.post_id, c)
    return list(first.values())


def ineligible_subscription(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    mine = set(query.subscribed_user_ids.tolist())
    return [
        c
        for c in candidates
        if all(
            not author or author in mine
            for author in (c.subscription_author_id, c.reposted_subscription_author_id)
        )
    ]


def _related(c: Candidate) -> list[int]:
    related = (c.post_id, c.reposted_post_id, c.in_reply_to_post_id)
    return [one for one in related if one]


class PreviouslySeen:
    """Ids, then Bloom filters; a key is hashed once a request, however many posts relate to it."""

    def keep(self, query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        seen = set(query.seen_ids.tolist())
        verdicts: dict[int, bool] = {}

        def in_filters(post_id: int) -> bool:
            if post_id not in verdicts:
                verdicts[post_id] = any(_may_hold(f, post_id) for f in query.bloom_filters)
            return verdicts[post_id]

        return [
            c for c in candidates if not any(one in seen or in_filters(one) for one in _related(c))
        ]


def _may_hold(bloom: BloomFilter, post_id: int) -> bool:
    digest = blake2b(post_id.to_bytes(8, "little"), digest_size=16).digest()
    h1, h2 = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    for j in range(bloom.num_hashes):
        at = (h1 + j * h2) % bloom.num_bits
        if not bloom.bits[at >> 3] >> (at & 7) & 1:
            return False
    return True


def previously_served(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    if not (query.params.enable_served_filter_all_requests or query.is_bottom_request):
        return candidates
    served = {*query.served_ids.tolist(), *query.served_history_ids.tolist()}
    return [c for c in candidates if not any(one in served for one in _related(c))]


class MutedKeywords:
    """The same cached tokenizer as the columnar filter's."""

    def __init__(self) -> None:
        self._tokenized = lru_cache(maxsize=CACHED_TEXTS_MAX)(tokenize_text)

    def keep(self, query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        matcher = KeywordMatcher(query.muted_keywords)
        return [
            c
            for c in candidates
            if not any(
                text and matcher.matches(self._tokenized(text))
                for text in (c.text, c.reposted_text, c.quoted_text)
            )
        ]


def author_socialgraph(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    unwanted = {*query.blocked_user_ids.tolist(), *query.muted_user_ids.tolist()}
    return [
        c
        for c in candidates
        if not c.author_blocks_viewer
        and c.author_id not in unwanted
        and c.reposted_user_id not in unwanted
        and c.quoted_author_id not in unwanted
    ]


def scorers(world: FeedWorld) -> list[Updater]:
    """Phoenix, weighted, author diversity, out of network."""
    rows = zip(world.predicted_ids.tolist(), world.heads.tolist(), strict=True)
    predictions = {post_id: tuple(heads) for post_id, heads in rows}

    async def phoenix(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        return [
            Candidate(
                heads=predictions.get(c.reposted_post_id or c.post_id),
                last_scored_at_ms=query.now_ms,
                prediction_request_id=1,
            )
            for c in candidates
        ]

    return [
        Updater(phoenix, ("heads", "last_scored_at_ms", "prediction_request_id")),
        Updater(_weighted_scorer, ("weighted", "offset", "score")),
        Updater(_diversity_scorer, ("diversity", "score")),
        Updater(_oon_scorer, ("oon", "score")),
    ]


async def _weighted_scorer(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    params = query.params
    weights = [params.weights[head] for head in HEADS]
    places = {head: HEADS.index(head) for head in HEADS}
    reply, dwell = places["reply"], places["dwell"]
    video, unexplored = places["video_quality_view"], places["post_unexplored"]
    plain = [i for i, w in enumerate(weights) if w or i in (reply, dwell, video, unexplored)]
    fresh = []
    for c in candidates:
        if c.heads is None:
            raise ValueError(f"the benchmark's world predicts every post, but not {c.post_id}")
        original = not (c.in_reply_to_post_id or c.reposted_post_id)
        boosted = original and c.mutual_follow
        total = 0.0
        for i in plain:
            value, weight = c.heads[i], weights[i]
            if value != value:
                continue
            if i == reply and boosted:
                weight += params.mutual_follow_reply_boost
            elif i == dwell and boosted:
                weight += params.mutual_follow_dwell_boost
            elif (i == video and (c.video_duration_ms or 0) <= params.min_video_duration_ms) or (
                i == unexplored and not c.in_network
            ):
                weight = 0.0
            total += weight * value
        offset = _offset(total, params)
        fresh.append(Candidate(weighted=total, offset=offset, score=offset))
    return fresh


def _offset(total: float, params: Any) -> float:
    if params.weights_sum == 0.0:
        return max(total, 0.0)
    if total < 0.0:
        ratio = (total + params.negative_weights_sum) / params.weights_sum
        return float(ratio * params.negative_scores_offset)
    return float(total + params.negative_scores_offset)


async def _diversity_scorer(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    params = query.params
    if not params.enable_author_diversity:
        return [Candidate(diversity=c.diversity, score=c.score) for c in candidates]
    better: dict[int, int] = defaultdict(int)
    fresh: list[Candidate] = [Candidate() for _ in candidates]
    order = sorted(
        range(len(candidates)),
        key=lambda i: (-(candidates[i].offset or 0.0), -candidates[i].post_id),
    )
    floor, decay = params.author_diversity_floor, params.author_diversity_decay
    for i in order:
        c = candidates[i]
        key = c.author_id
        if params.author_diversity_by_original_author and c.reposted_user_id:
            key = c.reposted_user_id
        multiplier = (1.0 - floor) * decay ** better[key] + floor
        better[key] += 1
        fresh[i].diversity = multiplier
        fresh[i].score = (c.offset or 0.0) * multiplier * c.oon
    return fresh


async def _oon_scorer(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    params = query.params
    rescored = params.enable_oon_rescore_for_in_network_replies_reposts
    fresh = []
    for c in candidates:
        lowered = c.in_network is False or (
            rescored and c.in_network is True and bool(c.in_reply_to_post_id or c.reposted_post_id)
        )
        oon = params.oon_weight_factor if lowered else 1.0
        fresh.append(Candidate(oon=oon, score=(c.offset or 0.0) * c.diversity * oon))
    return fresh


class Labels:
    """The visibility verdict of each post that may be shown, its original's and its quote's."""

    def __init__(self, world: FeedWorld) -> None:
        self._world = world

    async def hydrate(self, query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
        fresh = []
        for c in candidates:
            level = YES if c.in_network else 0
            worst = self._of(c.post_id, level, is_shown=True)
            if c.reposted_post_id:
                worst = _stricter(worst, self._of(c.reposted_post_id, level, is_shown=True))
            if c.quoted_post_id:
                worst = _stricter(worst, self._of(c.quoted_post_id, 0, is_shown=False))
            fresh.append(Candidate(visibility_action=worst[0], visibility_reason=worst[1]))
        return fresh

    def _of(self, post_id: int, level: int, *, is_shown: bool) -> tuple[int, str]:
        bits = self._world.labels.get(post_id, 0)
        labels = [number for number in range(32) if bits >> number & 1]
        deleted = is_shown and post_id in self._world.deleted
        return verdict(labels, deleted=deleted, in_network=level)


def _stricter(first: tuple[int, str], second: tuple[int, str]) -> tuple[int, str]:
    severity = {0: 0, 1: 1, VISIBILITY_UNKNOWN: 2, VISIBILITY_DROP: 3}
    return second if severity[second[0]] > severity[first[0]] else first


def visibility(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    closed = query.params.enable_fail_closed_visibility
    return [
        c
        for c in candidates
        if c.visibility_action != VISIBILITY_DROP
        and not (closed and c.visibility_action == VISIBILITY_UNKNOWN)
    ]


def dedup_conversation(query: ScoredPostsQuery, candidates: Candidates) -> Candidates:
    best: dict[int, Candidate] = {}
    for c in candidates:  # best first
        best.setdefault(min(c.ancestors, default=c.reposted_post_id or c.post_id), c)
    kept = {id(c) for c in best.values()}
    return [c for c in candidates if id(c) in kept]
