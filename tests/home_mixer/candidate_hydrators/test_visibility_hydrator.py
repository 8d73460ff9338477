"""Unsafe and deleted posts are recognised, also behind reposts and quotes."""

from __future__ import annotations

from typing import Any

import pytest

from home_mixer.candidate_hydrators.visibility_hydrator import VisibilityHydrator
from home_mixer.clients.writes import FeatureBatch, PostContent
from home_mixer.columns import (
    VISIBILITY_ALLOW,
    VISIBILITY_DROP,
    VISIBILITY_INTERSTITIAL,
    VISIBILITY_UNKNOWN,
)
from protos import events_pb2

CLEAN, SPAM, ADULT, DELETED, UNKNOWN = 1, 2, 3, 4, 404


@pytest.fixture
def labelled(store: Any) -> Any:
    contents = [(post_id, PostContent(9, 1)) for post_id in (*range(1, 5), *range(10, 30))]
    labels = [
        (SPAM, 1 << events_pb2.VISIBILITY_LABEL_SPAM, 1),
        (ADULT, 1 << events_pb2.VISIBILITY_LABEL_ADULT, 1),
    ]
    statuses = [(DELETED, True, 5)]
    store.apply(FeatureBatch(contents=contents, labels=labels, statuses=statuses), {})
    return store


CASES: list[tuple[dict[str, int], int, str]] = [
    ({"post_id": CLEAN, "in_network": 0}, VISIBILITY_ALLOW, ""),
    ({"post_id": SPAM, "in_network": 1}, VISIBILITY_DROP, "spam"),
    ({"post_id": ADULT, "in_network": 1}, VISIBILITY_INTERSTITIAL, "adult"),
    ({"post_id": ADULT, "in_network": 0}, VISIBILITY_DROP, "adult"),
    ({"post_id": ADULT, "in_network": -1}, VISIBILITY_DROP, "adult"),
    ({"post_id": DELETED, "in_network": 1}, VISIBILITY_DROP, "deleted"),
    ({"post_id": UNKNOWN, "in_network": 1}, VISIBILITY_UNKNOWN, "unknown"),
    ({"post_id": 10, "in_network": 1, "reposted_post_id": SPAM}, VISIBILITY_DROP, "spam"),
    ({"post_id": 11, "in_network": 1, "reposted_post_id": DELETED}, VISIBILITY_DROP, "deleted"),
    (
        {"post_id": 12, "in_network": 1, "reposted_post_id": ADULT},
        VISIBILITY_INTERSTITIAL,
        "adult",
    ),
    (
        {"post_id": 13, "in_network": 1, "reposted_post_id": UNKNOWN},
        VISIBILITY_UNKNOWN,
        "unknown",
    ),
    ({"post_id": 14, "in_network": 1, "quoted_post_id": ADULT}, VISIBILITY_DROP, "adult"),
    # a quote outlives the post that it quotes: only the card goes
    ({"post_id": 15, "in_network": 1, "quoted_post_id": DELETED}, VISIBILITY_ALLOW, ""),
    ({"post_id": 16, "in_network": 1, "quoted_post_id": UNKNOWN}, VISIBILITY_ALLOW, ""),
]


@pytest.mark.parametrize(("row", "action", "reason"), CASES)
async def test_verdicts(
    labelled: Any,
    make_query: Any,
    make_table: Any,
    row: dict[str, int],
    action: int,
    reason: str,
) -> None:
    columns = await VisibilityHydrator(labelled, 100.0).hydrate(make_query(), make_table(row))
    assert columns["visibility_action"].tolist() == [action]
    assert columns["visibility_reason"].tolist() == [reason]


async def test_a_whole_page_is_one_round_trip(
    labelled: Any, make_query: Any, make_table: Any
) -> None:
    table = make_table(*(row for row, _, _ in CASES))
    columns = await VisibilityHydrator(labelled, 100.0).hydrate(make_query(), table)
    assert columns["visibility_action"].tolist() == [action for _, action, _ in CASES]
    assert labelled.calls == ["get_visibility"]
