"""The replayed world: a wrong or drifting world would prove nothing about the services."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benchmarks.replay.derive import HOUR_MS, NotEnoughError, Replay, derive
from benchmarks.replay.events import Create, QuoteGone, Status
from benchmarks.replay.interactions import REPLAY_FROM_S, read_higgs, synthetic
from benchmarks.replay.stream import make_stream
from service_kit.snowflake import timestamp_ms

END_MS = 1_790_000_000_000
EVENTS = 3_000


@pytest.fixture(scope="module")
def replay() -> Replay:
    return derive(synthetic(6_000, seed=5), events=EVENTS, seed=5, end_ms=END_MS)


def test_the_same_seed_makes_the_same_events_in_the_same_order(replay: Replay) -> None:
    again = derive(synthetic(6_000, seed=5), events=EVENTS, seed=5, end_ms=END_MS)
    other = derive(synthetic(6_000, seed=5), events=EVENTS, seed=6, end_ms=END_MS)
    assert again.due == replay.due
    assert make_stream(again, 1).sends == make_stream(replay, 1).sends
    assert other.due != replay.due


def test_exactly_the_events_that_were_asked_for_come_with_every_kind_among_them(
    replay: Replay,
) -> None:
    counts = replay.counts()
    assert sum(counts.values()) - counts["follow"] == EVENTS
    assert min(counts.values()) > 0, counts
    assert counts.keys() == {"create", "delete", "undelete", "quote_gone", "follow"}


def test_too_few_interactions_are_refused_with_both_numbers() -> None:
    with pytest.raises(NotEnoughError, match=r"\d+ events can be derived, 90000 were asked for"):
        derive(synthetic(1_000, seed=1), events=90_000, seed=1, end_ms=END_MS)


def test_what_refers_to_a_post_is_younger_and_no_post_is_near_the_retention_s_end(
    replay: Replay,
) -> None:
    """A post that aged out during a run would be a difference that nobody made."""
    posts = {event.post_id: event for event in replay.events if isinstance(event, Create)}
    for post in posts.values():
        assert timestamp_ms(post.post_id) == post.at_ms
        assert not END_MS - 59 * HOUR_MS < post.at_ms < END_MS - 44 * HOUR_MS - 1
        for target_id in (post.parent_id, post.source_id, post.quoted_id):
            assert target_id == 0 or posts[target_id].at_ms <= post.at_ms
    assert any(post.at_ms < END_MS - 59 * HOUR_MS for post in posts.values())


def test_a_quote_is_lost_only_when_its_source_was_deleted(replay: Replay) -> None:
    deleted = {e.post_id for e in replay.events if isinstance(e, Status) and e.deleted}
    gone = [event for event in replay.events if isinstance(event, QuoteGone)]
    assert gone
    assert all(event.quoted_id in deleted for event in gone)


def test_sending_loses_no_event_and_does_break_the_order_inside_keys(replay: Replay) -> None:
    stream = make_stream(replay, seed=2)
    values = [send.value for send in stream.sends]
    assert len(set(values)) == len(replay.due)
    assert len(values) == len(replay.due) + stream.duplicates
    assert 0 < stream.duplicates < 0.03 * len(values)
    assert [s.due_ms for s in stream.sends] == sorted(s.due_ms for s in stream.sends)
    by_key: dict[bytes, list[int]] = {}
    for send in stream.sends:
        by_key.setdefault(send.key, []).append(send.timestamp_ms)
    assert any(times != sorted(times) for times in by_key.values())


def test_a_line_that_is_not_of_the_data_set_is_named(tmp_path: Path) -> None:
    path = tmp_path / "activity.txt.gz"
    with gzip.open(path, "wt") as file:
        file.write(f"1 2 {REPLAY_FROM_S} RT\n1 2 soon MT\n")
    with pytest.raises(ValueError, match=r"activity.txt.gz:2: got b'1 2 soon MT"):
        read_higgs(path)


def test_the_data_set_s_lines_become_columns_by_time(tmp_path: Path) -> None:
    path = tmp_path / "activity.txt.gz"
    with gzip.open(path, "wt") as file:
        file.write(f"3 4 {REPLAY_FROM_S + 5} RE\n1 2 {REPLAY_FROM_S} RT\n")
    rows = read_higgs(path)
    assert rows.actor.tolist() == [1, 3]
    assert rows.target.tolist() == [2, 4]
    assert rows.kind.tolist() == [0, 1]
