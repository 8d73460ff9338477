"""The oracle itself: it says what the events said, whatever their order, and nothing else."""

from __future__ import annotations

import random

from benchmarks.replay.events import Create, Event, Follow, QuoteGone, Status
from benchmarks.replay.oracle import Oracle

CUTOFF_MS = 1_000
ANNE, BOB, CAROL = 1, 2, 3
POST, REPOST, REPLY, DEEP, QUOTE, OLD = 10, 11, 12, 13, 14, 15
NOBODY = 99
CREATES: list[Event] = [
    Create(OLD, ANNE, CUTOFF_MS - 1, "old"),
    Create(POST, ANNE, 2_000, "post", video_ms=6_000),
    Create(REPOST, BOB, 2_001, "", source_id=POST, source_user_id=ANNE),
    Create(REPLY, BOB, 2_002, "re", parent_id=POST, parent_user_id=ANNE, root_id=POST),
    Create(DEEP, CAROL, 2_003, "re re", parent_id=REPLY, parent_user_id=BOB, root_id=POST),
    Create(QUOTE, CAROL, 2_004, "quote", quoted_id=POST, quoted_user_id=ANNE),
]


def oracle_of(*events: Event) -> Oracle:
    return Oracle([*CREATES, *events], cutoff_ms=CUTOFF_MS)


def shown(oracle: Oracle, *following: int, viewer_id: int = NOBODY) -> list[int]:
    return oracle.in_network(viewer_id, following, capped=True)


def test_everything_of_the_followed_shows_newest_first_and_the_old_does_not() -> None:
    assert shown(oracle_of(), ANNE, BOB, CAROL) == [QUOTE, DEEP, REPLY, REPOST, POST]
    assert oracle_of().indexed() == {POST, QUOTE}


def test_a_deep_reply_needs_the_answered_user_followed() -> None:
    assert shown(oracle_of(), CAROL) == [QUOTE]


def test_a_repost_of_the_viewer_does_not_show() -> None:
    assert shown(oracle_of(), BOB, viewer_id=ANNE) == [REPLY]


def test_a_deleted_post_takes_its_reposts_and_replies_along_but_not_its_quotes() -> None:
    oracle = oracle_of(Status(POST, ANNE, 3_000, True))
    assert shown(oracle, ANNE, BOB, CAROL) == [QUOTE, DEEP]
    assert oracle.indexed() == {QUOTE}
    assert oracle.row(POST).deleted


def test_the_newest_change_holds_and_a_tie_is_a_delete() -> None:
    back, gone = Status(POST, ANNE, 3_000, False), Status(POST, ANNE, 3_000, True)
    assert not oracle_of(gone, back).alive(POST)
    assert not oracle_of(back, gone).alive(POST)
    assert oracle_of(back._replace(at_ms=3_001), gone).alive(POST)


def test_a_lost_quote_is_lost_for_ever() -> None:
    lost = QuoteGone(QUOTE, CAROL, 3_000, POST)
    row = oracle_of(lost, Status(POST, ANNE, 4_000, False)).row(QUOTE)
    assert (row.quoted_post_id, row.quoted_user_id) == (0, 0)
    assert oracle_of().row(QUOTE).quoted_post_id == POST


def test_the_newest_change_of_an_edge_holds() -> None:
    followed, unfollowed = Follow(BOB, ANNE, 5, False), Follow(BOB, ANNE, 6, True)
    assert oracle_of(unfollowed, followed).follows_by_user() == {BOB: []}
    assert oracle_of(followed).follows_by_user() == {BOB: [ANNE]}


def test_order_and_repetition_change_nothing() -> None:
    events = [
        *CREATES,
        Status(POST, ANNE, 3_000, True),
        Status(POST, ANNE, 3_500, False),
        QuoteGone(QUOTE, CAROL, 3_000, POST),
        Follow(BOB, ANNE, 5, False),
        Follow(BOB, ANNE, 6, True),
    ]
    expected = Oracle(events, cutoff_ms=CUTOFF_MS)
    dice = random.Random(3)
    for _ in range(20):
        mixed = [*events, dice.choice(events)]
        dice.shuffle(mixed)
        found = Oracle(mixed, cutoff_ms=CUTOFF_MS)
        assert [found.row(i) for i in found.post_ids()] == [
            expected.row(i) for i in expected.post_ids()
        ]
        assert shown(found, ANNE, BOB, CAROL) == shown(expected, ANNE, BOB, CAROL)
        assert found.follows_by_user() == expected.follows_by_user()
