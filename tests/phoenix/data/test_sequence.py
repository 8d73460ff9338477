"""The action sequence obeys the 5-minute rule, whatever the order of arrival."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from home_mixer.clients.protocols import ActionRows
from home_mixer.query_hydrators.aggregation import aggregate as aggregate_for_serving
from phoenix.data.events import EventColumns
from phoenix.data.sequence import aggregate, keep_last, without_duplicates
from protos import actions_pb2, events_pb2
from service_kit.action_list import ACTION_INDEX
from service_kit.action_windows import UAS_WINDOW_TIME_MS

FAVORITE, DWELL, REPLY = (
    actions_pb2.ACTION_FAVORITE,
    actions_pb2.ACTION_DWELL,
    actions_pb2.ACTION_REPLY,
)
EVENTS = st.lists(
    st.builds(
        events_pb2.ActionEvent,
        user_id=st.integers(1, 2),
        post_id=st.integers(1, 3),
        author_id=st.just(9),
        action=st.sampled_from([FAVORITE, DWELL, REPLY, actions_pb2.ACTION_DWELL_TIME]),
        acted_at_ms=st.integers(1, 12).map(lambda t: t * 100_000),
        seconds=st.sampled_from([0.0, 1.5, 4.0]),
    ),
    max_size=25,
)


def sequences(events):
    columns = EventColumns()
    for event in events:
        columns.add_action(event)
    return aggregate(columns.actions())


def oracle(events):
    """Plain Python, one user and post after another."""
    made = []
    for user, post in sorted({(e.user_id, e.post_id) for e in events}):
        own = [e for e in events if (e.user_id, e.post_id) == (user, post)]
        current = None
        for event in sorted(own, key=lambda e: e.acted_at_ms):
            if current is None or event.acted_at_ms - current["first"] >= UAS_WINDOW_TIME_MS:
                current = {"user": user, "post": post, "first": event.acted_at_ms}
                current |= {"actions": set(), "dwell": math.nan}
                made.append(current)
            current["last"] = event.acted_at_ms
            current["actions"].add(event.action)
            if event.action in (DWELL, actions_pb2.ACTION_DWELL_TIME) and event.seconds > 0:
                current["dwell"] = np.fmax(current["dwell"], event.seconds)
    return sorted(made, key=lambda e: (e["user"], e["first"], e["post"]))


@given(EVENTS, st.randoms())
@settings(max_examples=150)
def test_aggregation_equals_the_oracle_in_any_order(events, random):
    """Training on other sequences than serving sends is the classic silent skew."""
    shuffled = [*events, *events[: len(events) // 2]]
    random.shuffle(shuffled)
    result, expected = sequences(shuffled), oracle(events)
    assert result.user_ids.tolist() == [e["user"] for e in expected]
    assert result.post_ids.tolist() == [e["post"] for e in expected]
    assert result.first_at_ms.tolist() == [e["first"] for e in expected]
    assert result.last_at_ms.tolist() == [e["last"] for e in expected]
    found = [set((np.flatnonzero(row) + 1).tolist()) for row in result.actions]
    assert found == [e["actions"] for e in expected]
    np.testing.assert_array_equal(result.dwell_seconds, [e["dwell"] for e in expected])


@given(EVENTS)
@settings(max_examples=50)
def test_serving_aggregates_by_the_same_rule(events):
    """Two implementations, either side of the wire; a difference would be training-serving skew."""
    events = [e for e in events if e.user_id == 1]
    columns = EventColumns()
    for event in events:
        columns.add_action(event)
    raw = without_duplicates(columns.actions())
    served = aggregate_for_serving(
        ActionRows(
            post_id=raw.post_ids.astype(np.uint64),
            author_id=raw.author_ids.astype(np.uint64),
            action=raw.actions.astype(np.uint8),
            acted_at_ms=raw.acted_at_ms,
            product_surface=raw.product_surface.astype(np.uint8),
            seconds=raw.seconds,
        ),
        UAS_WINDOW_TIME_MS,
    )
    trained = sequences(events)
    assert served.post_ids.tolist() == trained.post_ids.tolist()
    assert served.acted_at_ms.tolist() == trained.first_at_ms.tolist()
    bits = (trained.actions * (1 << np.arange(trained.actions.shape[1]))).sum(axis=1)
    assert served.action_bits.tolist() == bits.tolist()
    np.testing.assert_array_equal(served.dwell_seconds, np.nan_to_num(trained.dwell_seconds))


def test_the_window_counts_from_its_first_action():
    """At 0 s, 200 s, 299.999 s: one event. At 300 s: the next, though 0.001 s after the last."""
    times = [1, 200_001, 300_000, 300_001]
    events = [
        events_pb2.ActionEvent(user_id=1, post_id=1, author_id=2, action=FAVORITE, acted_at_ms=t)
        for t in times
    ]
    result = sequences(events)
    assert result.first_at_ms.tolist() == [1, 300_001]
    assert result.last_at_ms.tolist() == [300_000, 300_001]


def test_keep_last_keeps_each_users_newest():
    """A long history must lose its oldest events, for every user on their own."""
    events = [
        events_pb2.ActionEvent(user_id=u, post_id=p, author_id=2, action=FAVORITE, acted_at_ms=p)
        for u, posts in ((1, range(1, 6)), (2, range(1, 3)))
        for p in posts
    ]
    kept = keep_last(sequences(events), 3)
    assert list(zip(kept.user_ids, kept.post_ids, strict=True)) == [
        (1, 3),
        (1, 4),
        (1, 5),
        (2, 1),
        (2, 2),
    ]
    assert kept.actions[:, ACTION_INDEX["favorite"]].all()


def test_no_actions_are_no_events():
    """An empty log is not an error."""
    assert len(keep_last(sequences([]), 3)) == 0
