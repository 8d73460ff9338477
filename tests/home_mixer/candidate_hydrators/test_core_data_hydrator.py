"""Core data: what the store knows wins, what it does not know stays and is marked."""

from __future__ import annotations

from typing import Any

from home_mixer.candidate_hydrators.core_data_hydrator import CoreDataHydrator
from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.clients.writes import FeatureBatch, PostContent


async def test_known_posts_are_filled(
    store: Any, make_query: Any, make_table: Any, as_lists: Any
) -> None:
    reply = PostContent(2, 50, 7, 8, 6, has_media=True, text="a reply")
    repost = PostContent(3, 60, reposted_post_id=4, reposted_user_id=5)
    quote = PostContent(3, 70, quoted_post_id=9, quoted_user_id=10, text="a quote")
    store.apply(FeatureBatch(contents=[(11, reply), (12, repost), (13, quote)]), {})
    hydrator = CoreDataHydrator(SharedPostReads(store), 100.0)
    table = make_table({"post_id": 11}, {"post_id": 12}, {"post_id": 13})
    columns = as_lists(await hydrator.hydrate(make_query(), table))
    assert set(columns) == hydrator.writes
    assert columns["text"] == ["a reply", "", "a quote"]
    assert columns["created_at_ms"] == [50, 60, 70]
    assert columns["in_reply_to_post_id"] == [7, 0, 0]
    assert columns["conversation_id"] == [6, 0, 0]
    assert columns["reposted_post_id"] == [0, 4, 0]
    assert columns["reposted_user_id"] == [0, 5, 0]
    assert columns["quoted_post_id"] == [0, 0, 9]
    assert columns["has_media"] == [True, False, False]
    assert columns["core_data_found"] == [1, 1, 1]


async def test_an_unknown_post_keeps_what_its_source_said(
    store: Any, make_query: Any, make_table: Any, as_lists: Any
) -> None:
    row = {
        "post_id": 11,
        "created_at_ms": 5,
        "in_reply_to_post_id": 7,
        "conversation_id": 6,
        "reposted_post_id": 4,
    }
    hydrator = CoreDataHydrator(SharedPostReads(store), 100.0)
    columns = as_lists(await hydrator.hydrate(make_query(), make_table(row)))
    assert columns["core_data_found"] == [0]
    assert (columns["created_at_ms"], columns["reposted_post_id"]) == ([5], [4])
    assert (columns["in_reply_to_post_id"], columns["conversation_id"]) == ([7], [6])
    assert columns["text"] == [""]
