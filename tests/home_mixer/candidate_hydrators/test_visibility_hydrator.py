"""Unsafe and deleted posts are recognised, also behind reposts and quotes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from candidate_pipeline.errors import Degraded
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


OUTAGE: list[tuple[int, int, str, int, str]] = [
    # post, verdict and reason from fresh labels, from labels that are too old
    (CLEAN, VISIBILITY_ALLOW, "", VISIBILITY_UNKNOWN, "unknown"),
    (SPAM, VISIBILITY_DROP, "spam", VISIBILITY_DROP, "spam"),
    (ADULT, VISIBILITY_INTERSTITIAL, "adult", VISIBILITY_UNKNOWN, "unknown"),
    (DELETED, VISIBILITY_DROP, "deleted", VISIBILITY_DROP, "deleted"),
    (UNKNOWN, VISIBILITY_UNKNOWN, "unknown", VISIBILITY_UNKNOWN, "unknown"),
]


async def test_in_an_outage_fresh_labels_serve_with_their_age_and_old_ones_only_condemn(
    labelled: Any, make_query: Any, make_table: Any
) -> None:
    hydrator = VisibilityHydrator(labelled, 100.0, stale_ms=60_000)
    query, posts = make_query(), [post for post, *_ in OUTAGE]
    table = make_table(*({"post_id": post, "in_network": 1} for post in posts))
    columns = await hydrator.hydrate(query, table)
    assert columns["visibility_age_ms"].tolist() == [0] * len(posts)
    with pytest.raises(Degraded) as stale:
        hydrator.fail_closed(replace(query, now_ms=query.now_ms + 60_000), table)
    assert stale.value.reason == "stale"
    found: Any = stale.value.output
    assert found["visibility_action"].tolist() == [action for _, action, *_ in OUTAGE]
    assert found["visibility_reason"].tolist() == [reason for _, _, reason, *_ in OUTAGE]
    assert found["visibility_age_ms"].tolist() == [60_000] * 4 + [-1]
    old = hydrator.fail_closed(replace(query, now_ms=query.now_ms + 60_001), table)
    assert old["visibility_action"].tolist() == [action for *_, action, _ in OUTAGE]
    assert old["visibility_reason"].tolist() == [reason for *_, reason in OUTAGE]
    assert old["visibility_age_ms"].tolist() == [-1] * len(posts)


async def test_a_deletion_that_was_read_replaces_what_was_known(
    labelled: Any, make_query: Any, make_table: Any
) -> None:
    """Else an outage would bring back what was taken away before it."""
    hydrator = VisibilityHydrator(labelled, 100.0, stale_ms=60_000)
    query, table = make_query(), make_table({"post_id": CLEAN, "in_network": 1})
    await hydrator.hydrate(query, table)
    labelled.apply(FeatureBatch(statuses=[(CLEAN, True, 9)]), {})
    await hydrator.hydrate(query, table)
    with pytest.raises(Degraded) as stale:
        hydrator.fail_closed(query, table)
    found: Any = stale.value.output
    assert found["visibility_reason"].tolist() == ["deleted"]


def test_without_anything_known_all_is_unknown(
    labelled: Any, make_query: Any, make_table: Any
) -> None:
    for hydrator in (
        VisibilityHydrator(labelled, 100.0),
        VisibilityHydrator(labelled, 100.0, stale_ms=60_000),
    ):
        columns = hydrator.fail_closed(make_query(), make_table({"post_id": CLEAN}))
        assert columns["visibility_action"].tolist() == [VISIBILITY_UNKNOWN]
