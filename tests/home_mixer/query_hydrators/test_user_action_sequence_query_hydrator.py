"""The action sequence: one event a post and window, and nothing for a viewer without history."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from home_mixer.clients.memory import MemoryFeatureStore, action_rows
from home_mixer.clients.writes import Action, FeatureBatch
from home_mixer.params import load_params
from home_mixer.query_hydrators.aggregation import aggregate
from home_mixer.query_hydrators.user_action_sequence_query_hydrator import (
    UserActionSequenceQueryHydrator,
)
from service_kit.action_list import ACTION_INDEX

WINDOW_MS = 300_000
LIKE, REPLY, DWELL = (ACTION_INDEX[name] + 1 for name in ("favorite", "reply", "dwell"))
CLICK_DWELL = ACTION_INDEX["click_dwell_time"] + 1


def action(at_ms: int, post_id: int, number: int = LIKE, seconds: float = 0.0) -> Action:
    return Action(at_ms, post_id, number, post_id + 1000, 1, seconds)


def test_actions_of_one_post_within_the_window_are_one_event() -> None:
    rows = [
        action(1_000, 7, LIKE),
        action(2_000, 8, LIKE),
        action(3_000, 7, DWELL, 4.0),
        action(1_000 + WINDOW_MS - 1, 7, DWELL, 2.0),
        action(1_000 + WINDOW_MS, 7, REPLY),  # just outside: an event of its own
    ]
    events = aggregate(action_rows(rows), WINDOW_MS)
    assert events.post_ids.tolist() == [7, 8, 7]
    assert events.acted_at_ms.tolist() == [1_000, 2_000, 1_000 + WINDOW_MS]
    like, reply, dwell = (1 << (number - 1) for number in (LIKE, REPLY, DWELL))
    assert events.action_bits.tolist() == [like | dwell, like, reply]
    assert events.dwell_seconds.tolist() == [4.0, 0.0, 0.0]
    assert events.author_ids.tolist() == [1007, 1008, 1007]


def test_seconds_behind_a_click_are_no_dwell_on_the_post() -> None:
    events = aggregate(action_rows([action(1, 7, CLICK_DWELL, 90.0)]), WINDOW_MS)
    assert events.dwell_seconds.tolist() == [0.0]


@given(
    st.lists(
        st.builds(
            action,
            st.integers(0, 40),
            st.integers(1, 4),
            st.integers(1, 25),
            st.sampled_from([0.0, 1.0, 2.0]),
        ),
        max_size=40,
    ),
    st.integers(1, 15),
)
def test_it_equals_a_walk_over_the_actions(rows: list[Action], window_ms: int) -> None:
    events = aggregate(action_rows(sorted(rows)), window_ms)
    found = list(
        zip(
            events.acted_at_ms.tolist(),
            events.post_ids.tolist(),
            events.action_bits.tolist(),
            events.dwell_seconds.tolist(),
            strict=True,
        )
    )
    assert found == walked(rows, window_ms)


def walked(rows: list[Action], window_ms: int) -> list[tuple[int, int, int, float]]:
    events: list[list[Any]] = []
    for post_id in {row.post_id for row in rows}:
        current: list[Any] | None = None
        for row in sorted(r for r in rows if r.post_id == post_id):
            if current is None or row.acted_at_ms - current[0] >= window_ms:
                current = [row.acted_at_ms, post_id, 0, 0.0]
                events.append(current)
            current[2] |= 1 << (row.action - 1)
            if row.action in (DWELL, ACTION_INDEX["dwell_time"] + 1):
                current[3] = max(current[3], row.seconds)
    return sorted(tuple(event) for event in events)


async def test_the_newest_events_are_kept(make_query: Any) -> None:
    store = MemoryFeatureStore()
    rows = [(1, action(n, n)) for n in range(1, 10)]
    store.apply(FeatureBatch(actions=rows), {})
    short = load_params("x-2026-10", {"scoring_sequence_length": 3, "retrieval_sequence_length": 2})
    hydrator = UserActionSequenceQueryHydrator(store, 100.0)
    fields = await hydrator.hydrate(make_query(params=short))
    sequence: Any = fields["action_sequence"]
    assert sequence.post_ids.tolist() == [7, 8, 9]


async def test_a_viewer_without_history_has_an_empty_sequence(make_query: Any) -> None:
    hydrator = UserActionSequenceQueryHydrator(MemoryFeatureStore(), 100.0)
    fields = await hydrator.hydrate(make_query())
    sequence: Any = fields["action_sequence"]
    assert len(sequence) == 0
    assert sequence.action_bits.dtype == np.uint32
