"""Users on Redis: profiles, edges, muted keywords.

All lists of a viewer lie in one slot: one MGET. Who blocks a viewer is a list of its own. Who
follows a viewer is a sorted set (author → twice the time of the change, plus 1 when removed), of
which the authors in question are looked up, so that its length costs nothing.

A forgotten block would show what its author withheld. So a viewer's lists live a year longer each
time that the viewer comes by (asked of Redis once a day, in the same round trip), beside each
write.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from home_mixer.clients.columns import profile_batch
from home_mixer.clients.keys import id_keys
from home_mixer.clients.protocols import Ids, Mask, ProfileBatch, UserFeatures
from home_mixer.clients.redis.cluster import Command
from home_mixer.clients.redis.connection import RedisMetrics
from home_mixer.clients.redis.keys import KeySchema, buckets_of
from home_mixer.clients.redis.reader import RedisReader
from home_mixer.clients.user_values import (
    BLOCKED_BY,
    decode_profile,
    live_keywords,
    live_targets,
)
from home_mixer.clients.writes import BLOCK, FOLLOW, MUTE, SUBSCRIBE
from service_kit.clock import Clock

FEATURE_KINDS = (FOLLOW, BLOCK, MUTE, SUBSCRIBE)
KEYWORDS, FOLLOWED_BY = "keywords", "followed_by"
FOLLOWERS_MAX = 1_000_000  # of one user; the oldest changes go first, and only a bonus with them
REFRESH_S = 86_400.0  # a day, of a year
REFRESHED_VIEWERS_MAX = 100_000  # remembered as refreshed; beyond it some are refreshed again
DAY_MS = 86_400_000


class RedisUserStore:
    """`ProfileStore` and `SocialGraphStore`."""

    def __init__(
        self, reader: RedisReader, *, user_days: int, clock: Clock, metrics: RedisMetrics
    ) -> None:
        self._reader = reader
        self._ttl_ms = user_days * DAY_MS
        self._clock = clock
        self._metrics = metrics
        self._refreshed: OrderedDict[int, float] = OrderedDict()

    async def get_profiles(self, user_ids: Ids) -> ProfileBatch:
        """Rows [B]."""
        unique, inverse = np.unique(user_ids, return_inverse=True)
        buckets = buckets_of(unique)
        keys = self._reader.keys.profiles(unique.tolist(), buckets)
        values = await self._reader.values(keys, buckets)
        batch = profile_batch([None if v is None else decode_profile(v) for v in values])
        return ProfileBatch(
            found=batch.found[inverse],
            screen_name=batch.screen_name[inverse],
            verified=batch.verified[inverse],
            followers_count=batch.followers_count[inverse],
        )

    async def get_features(self, user_id: int) -> UserFeatures:
        """The viewer's lists."""
        keys = self._reader.keys
        wanted = [keys.edges(kind, user_id) for kind in FEATURE_KINDS]
        wanted.append(keys.user(KEYWORDS, user_id))
        refresh = self._refresh(user_id)
        replies = await self._reader.of_user(user_id, ("MGET", *wanted), *refresh)
        follows, blocks, mutes, subscriptions, words = self._reader.reply(replies[1])
        refused = sum(isinstance(reply, Exception) for reply in replies[2:])
        self._metrics.refresh_failures.inc(refused)  # a replica refuses; the lists are as good
        if refresh and not refused:
            self._remember(user_id)
        return UserFeatures(
            followed_user_ids=live_targets(follows),
            blocked_user_ids=live_targets(blocks),
            muted_user_ids=live_targets(mutes),
            subscribed_user_ids=live_targets(subscriptions),
            muted_keywords=live_keywords(words or b""),
        )

    async def blocks_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]: one list."""
        key = self._reader.keys.edges(BLOCKED_BY, user_id)
        (value,) = await self._reader.of_user_checked(user_id, ("GET", key))
        return np.isin(author_ids, live_targets(value))

    async def follows_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]: as many lookups in one set."""
        if author_ids.shape[0] == 0:
            return np.zeros(0, np.bool_)
        key = self._reader.keys.user(FOLLOWED_BY, user_id)
        lookup = ("ZMSCORE", key, *id_keys(author_ids))
        (scores,) = await self._reader.of_user_checked(user_id, lookup)
        return np.array([_follows(score) for score in scores], np.bool_)

    def _refresh(self, user_id: int) -> list[Command]:
        """What makes the viewer's lists live on; nothing when that was done lately."""
        if self._clock.monotonic_s() - self._refreshed.get(user_id, -REFRESH_S) < REFRESH_S:
            return []
        return [("PEXPIRE", key, self._ttl_ms) for key in lasting_keys(self._reader.keys, user_id)]

    def _remember(self, user_id: int) -> None:
        self._refreshed[user_id] = self._clock.monotonic_s()
        self._refreshed.move_to_end(user_id)
        if len(self._refreshed) > REFRESHED_VIEWERS_MAX:
            self._refreshed.popitem(last=False)


def lasting_keys(keys: KeySchema, user_id: int) -> list[str]:
    """What is kept of a user who stays away: all in one slot."""
    edges = [keys.edges(kind, user_id) for kind in (*FEATURE_KINDS, BLOCKED_BY)]
    return [*edges, *(keys.user(what, user_id) for what in (KEYWORDS, FOLLOWED_BY, "profile"))]


def follow_score(changed_at_ms: int, removed: bool) -> int:
    """Greater for the change that wins; exact in a double for 140,000 years."""
    return 2 * changed_at_ms + removed


def _follows(score: bytes | float | None) -> bool:
    return score is not None and int(float(score)) % 2 == 0
