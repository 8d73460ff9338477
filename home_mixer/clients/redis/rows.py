"""A batch's rows as Redis stores them: values to merge with what is there, and set members.

Values are merged in Python by the laws that all stores share, and then replaced only where nobody
else has changed them since they were read. Members of sorted sets need no reading.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from home_mixer.clients.columns import decode_post, encode_post
from home_mixer.clients.keys import id_key
from home_mixer.clients.redis.actions import (
    ACTIONS,
    ACTIONS_PER_USER_MAX,
    ACTIONS_TTL_MS,
    member_of,
)
from home_mixer.clients.redis.cluster import Command
from home_mixer.clients.redis.keys import KeySchema, bucket_of
from home_mixer.clients.redis.posts import merged_status
from home_mixer.clients.redis.scripts import ADD_MEMBERS
from home_mixer.clients.redis.users import FOLLOWED_BY, FOLLOWERS_MAX, KEYWORDS, follow_score
from home_mixer.clients.user_values import (
    EdgeArrays,
    decode_edges,
    decode_profile,
    edges_by_list,
    encode_edges,
    encode_profile,
    keywords_by_user,
    merge_edges,
    merge_keywords,
)
from home_mixer.clients.writes import (
    FOLLOW,
    EdgeChange,
    FeatureBatch,
    PostContent,
    PostState,
    Profile,
)
from service_kit.snowflake import timestamps_ms

HOUR_MS = 3_600_000
POST_TTL_MS_MIN = HOUR_MS  # of one that came late
STATUS_TTL_MS_MORE = HOUR_MS  # a delete outlives what it deletes
MEMBERS_PER_COMMAND = 1_000  # Lua takes some thousand arguments


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One value; ``merge`` gives what shall be stored for what is stored (None: nothing)."""

    key: str
    bucket: int
    merge: Callable[[bytes | None], bytes]
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows live, and by which clock."""

    posts_ms: int
    users_ms: int
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def of_post(self, post_id: int) -> int:
        """What is left of a post's life, by the time in its id."""
        (created_at_ms,) = timestamps_ms(np.array([post_id], np.uint64)).tolist()
        if created_at_ms < 0:
            return self.posts_ms
        left_ms: int = created_at_ms + self.posts_ms - self.now_ms()
        return min(max(left_ms, POST_TTL_MS_MIN), self.posts_ms)


def value_rows(batch: FeatureBatch, keys: KeySchema, keep: Retention) -> list[ValueRow]:
    """Every value that the batch touches, once."""
    return [*_post_rows(batch, keys, keep), *_user_rows(batch, keys, keep)]


def _post_rows(batch: FeatureBatch, keys: KeySchema, keep: Retention) -> Iterator[ValueRow]:
    states: dict[int, PostState] = defaultdict(PostState)
    batch.changed_posts(states)
    for post_id, state in states.items():
        bucket, ttl_ms = bucket_of(post_id), keep.of_post(post_id)
        (status_key,) = keys.statuses([post_id], [bucket])
        status_ttl_ms = ttl_ms + STATUS_TTL_MS_MORE
        yield ValueRow(status_key, bucket, partial(merged_status, newer=state), status_ttl_ms)
        if state.content is not None:
            (key,) = keys.posts([post_id], [bucket])
            yield ValueRow(key, bucket, partial(_larger_content, newer=state.content), ttl_ms)


def _user_rows(batch: FeatureBatch, keys: KeySchema, keep: Retention) -> Iterator[ValueRow]:
    for (kind, user_id), edges in edges_by_list(batch).items():
        merge = partial(_merged_edges, newer=edges)
        yield ValueRow(keys.edges(kind, user_id), bucket_of(user_id), merge, keep.users_ms)
    for user_id, changes in keywords_by_user(batch).items():
        words = partial(_merged_keywords, changes=changes)
        yield ValueRow(keys.user(KEYWORDS, user_id), bucket_of(user_id), words, keep.users_ms)
    profiles: dict[int, Profile] = {}
    for user_id, profile in batch.profiles:
        profiles[user_id] = max(profile, profiles.get(user_id, profile))
    for user_id, profile in profiles.items():
        bucket = bucket_of(user_id)
        (key,) = keys.profiles([user_id], [bucket])
        yield ValueRow(key, bucket, partial(_larger_profile, newer=profile), keep.users_ms)


def member_commands(batch: FeatureBatch, keys: KeySchema, keep: Retention) -> list[Command]:
    """Additions to sorted sets: actions, and who follows whom."""
    actions: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for user_id, action in batch.actions:
        actions[user_id].append((action.acted_at_ms, member_of(action)))
    followers: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for kind, user_id, target_id, change in batch.edges:
        if kind == FOLLOW:
            followers[target_id].append((follow_score(*change), id_key(user_id)))
    commands: list[Command] = []
    for user_id, members in actions.items():
        limits = (ACTIONS_PER_USER_MAX, ACTIONS_TTL_MS)
        commands += _additions(keys.user(ACTIONS, user_id), limits, members)
    for user_id, members in followers.items():
        limits = (FOLLOWERS_MAX, keep.users_ms)
        commands += _additions(keys.user(FOLLOWED_BY, user_id), limits, members)
    return commands


def _additions(
    key: str, limits: tuple[int, int], members: list[tuple[int, bytes]]
) -> Iterator[Command]:
    for start in range(0, len(members), MEMBERS_PER_COMMAND):
        part = members[start : start + MEMBERS_PER_COMMAND]
        yield ("EVAL", ADD_MEMBERS, 1, key, *limits, *(word for pair in part for word in pair))


def _larger_content(old: bytes | None, newer: PostContent) -> bytes:
    state = PostState() if old is None else decode_post(old)
    state.merge_content(newer)
    return encode_post(state)


def _merged_edges(old: bytes | None, newer: EdgeArrays) -> bytes:
    return encode_edges(merge_edges(decode_edges(old or b""), newer))


def _merged_keywords(old: bytes | None, changes: list[tuple[str, EdgeChange]]) -> bytes:
    return merge_keywords(old or b"", changes)


def _larger_profile(old: bytes | None, newer: Profile) -> bytes:
    return encode_profile(newer if old is None else max(newer, decode_profile(old)))
