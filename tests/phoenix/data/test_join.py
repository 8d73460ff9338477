"""The join of served posts and actions: exactly once, any order, the right impression."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.data.batches import RankerBatches
from phoenix.data.join import ATTRIBUTION_WINDOW_MS, impressions_from_log, join_events, join_log
from protos import actions_pb2, events_pb2
from service_kit.action_list import MODEL_ACTIONS
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_SERVED, event_key

MINUTE_MS = 60_000
START_MS = 1_790_000_000_000
FAVORITE, DWELL = actions_pb2.ACTION_FAVORITE, actions_pb2.ACTION_DWELL


def served_event(viewer, posts, at_ms, request=""):
    return events_pb2.ServedEvent(
        viewer_id=viewer,
        request_id=request,
        served_at_ms=at_ms,
        product_surface=1,
        posts=[events_pb2.ServedPost(post_id=p, author_id=100 + p) for p in posts],
    )


def action_event(user, post, action, at_ms, seconds=0.0, request=""):
    return events_pb2.ActionEvent(
        user_id=user,
        post_id=post,
        author_id=100 + post,
        action=action,
        acted_at_ms=at_ms,
        seconds=seconds,
        request_id=request,
    )


# A request id names one viewer's one response, so it fixes the time.
REQUESTS = {"": None, "r1": (1, 0), "r2": (1, 20), "r3": (2, 5), "r4": (1, 50)}


@st.composite
def served_events(draw):
    request = draw(st.sampled_from(sorted(REQUESTS)))
    viewer, minute = REQUESTS[request] or (draw(st.integers(1, 2)), draw(st.integers(0, 90)))
    posts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True))
    return served_event(viewer, posts, START_MS + minute * MINUTE_MS, request)


@st.composite
def action_events(draw):
    return action_event(
        draw(st.integers(1, 2)),
        draw(st.integers(1, 4)),
        draw(st.sampled_from([FAVORITE, DWELL, actions_pb2.ACTION_OPEN_LINK])),
        START_MS + draw(st.integers(0, 100)) * MINUTE_MS,
        draw(st.sampled_from([0.0, 2.0, 7.0])),
        draw(st.sampled_from(["", "", "r1", "r2", "r9"])),
    )


def oracle(served, actions, until_ms):
    """Plain Python: {(viewer, post, time, request): (labels, dwell)} of the training rows."""
    end_ms = until_ms if until_ms is not None else math.inf
    rows = {}
    for event in served:
        if event.served_at_ms < end_ms:
            for post in event.posts:
                key = (event.viewer_id, post.post_id, event.served_at_ms, event.request_id)
                rows[key] = (set(), math.nan)
    for event in actions:
        if event.acted_at_ms >= end_ms:
            continue
        shown = [k for k in rows if k[:2] == (event.user_id, event.post_id)]
        before = [k for k in shown if k[2] <= event.acted_at_ms]
        named = [k for k in before if event.request_id and k[3] == event.request_id]
        newest = max((k[2] for k in before), default=None)
        chosen = named or [k for k in before if k[2] == newest]
        for key in sorted(chosen, key=lambda k: k[3])[-1:]:
            if 0 <= event.acted_at_ms - key[2] < ATTRIBUTION_WINDOW_MS:
                labels, dwell = rows[key]
                if event.action == DWELL and event.seconds > 0:
                    dwell = np.fmax(dwell, event.seconds)
                rows[key] = (labels | {event.action}, dwell)
    return {k: v for k, v in rows.items() if k[2] + ATTRIBUTION_WINDOW_MS <= end_ms}


@given(
    served=st.lists(served_events(), max_size=8),
    actions=st.lists(action_events(), max_size=16),
    until_minute=st.one_of(st.none(), st.integers(0, 120)),
    random=st.randoms(),
)
@settings(max_examples=200)
def test_the_join_equals_the_oracle(served, actions, until_minute, random):
    """Duplicates, lateness and disorder must neither lose, double nor move a label."""
    until_ms = None if until_minute is None else START_MS + until_minute * MINUTE_MS
    expected = oracle(served, actions, until_ms)
    served, actions = [*served, *served[:3]], [*actions, *actions[:5]]
    random.shuffle(actions)
    random.shuffle(served)
    result = join_events(served, actions, until_ms=until_ms).impressions
    targets = result.take(result.weight > 0)
    made = sorted(
        (
            int(targets.viewer_ids[row]),
            int(targets.post_ids[row]),
            int(targets.impressed_at_ms[row]),
            tuple(MODEL_ACTIONS[i] for i in np.flatnonzero(targets.labels[row])),
            float(np.nan_to_num(targets.dwell_seconds[row], nan=-1)),
        )
        for row in range(len(targets))
    )
    assert made == sorted(
        (*key[:3], tuple(name for name, n in NAMED if n in labels), float(np.nan_to_num(d, nan=-1)))
        for key, (labels, d) in expected.items()
    )


NAMED = (("favorite", FAVORITE), ("dwell", DWELL))


@given(st.lists(served_events(), max_size=8), st.lists(action_events(), max_size=16), st.randoms())
@settings(max_examples=60)
def test_order_of_arrival_does_not_matter(served, actions, random):
    """Kafka promises no order across keys."""
    first = join_events(served, actions)
    random.shuffle(actions)
    random.shuffle(served)
    second = join_events(served, actions)
    for name in first.impressions.__dataclass_fields__:
        one, two = getattr(first.impressions, name), getattr(second.impressions, name)
        if name == "action_names":
            assert one == two
        else:
            np.testing.assert_array_equal(one, two)


def test_actions_enter_histories_only_after_they_happened():
    """The like of the first page is known to the second page, but not to the first."""
    served = [
        served_event(1, [1, 2], START_MS, "a"),
        served_event(1, [3], START_MS + 20 * MINUTE_MS, "b"),
    ]
    actions = [action_event(1, 1, FAVORITE, START_MS + 1_000, request="a")]
    result = join_events(served, actions).impressions
    batches = RankerBatches(result, history_length=3, candidates=4, batch_size=2, seed=0)
    (batch,) = batches.one_pass()
    assert batch.candidate_post_ids[:, :2].tolist() == [[1, 2], [3, 0]]
    assert batch.labels[0, :, 0].tolist() == [1, 0, 0, 0]
    assert batch.history_post_ids.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert batch.history_age_seconds[1, -1] == 20 * 60 - 1


def test_organic_actions_are_history_but_no_training_rows():
    """A like on a profile page says something about the viewer, nothing about our ranking."""
    result = join_events([], [action_event(1, 1, FAVORITE, START_MS)])
    assert result.counts["attributed"] == 0
    assert result.counts["targets"] == 0
    assert result.impressions.weight.tolist() == [0]
    assert result.impressions.in_history.tolist() == [True]


def test_a_served_repost_trains_its_original():
    """The ranker is asked about the original, so that is what it must learn about."""
    create = events_pb2.PostCreate(
        post_id=1, author_id=101, reposted_post_id=77, reposted_user_id=707
    )
    served = [served_event(1, [1, 2], START_MS, "a")]
    actions = [action_event(1, 1, FAVORITE, START_MS + 1_000)]
    posts = [events_pb2.PostEvent(create=create)]
    result = join_events(served, actions, posts).impressions
    targets = result.take(result.weight > 0)
    rows = zip(targets.post_ids, targets.author_ids, targets.column("favorite"), strict=True)
    assert sorted(rows) == [(2, 102, 0), (77, 707, 1)]


def test_unusable_events_are_counted():
    """Lost data must show up in a count."""
    result = join_events(
        [served_event(0, [1], START_MS), served_event(1, [0, 5], START_MS)],
        [action_event(1, 1, actions_pb2.ACTION_UNSPECIFIED, START_MS)],
    )
    assert result.rejected == {
        "served event without viewer or time": 1,
        "served post without id": 1,
        "action without user, post, action or time": 1,
    }
    assert result.counts["targets"] == 1


def test_unknown_action_names_are_refused():
    """A misspelt action would train a head on nothing."""
    with pytest.raises(ValueError, match="unknown actions \\['like'\\]"):
        join_events([], [], action_names=("like",))


@pytest.fixture
def log_dir(tmp_path):
    writer = EmbeddedLogWriter(tmp_path / "log")
    served = served_event(7, [1, 2], START_MS, "a").SerializeToString()
    acted = action_event(7, 2, FAVORITE, START_MS + 5_000, request="a").SerializeToString()
    key = event_key(7)
    writer.append_many_sync(TOPIC_ACTIONS, [(key, acted, START_MS)] * 3)
    writer.append_many_sync(TOPIC_SERVED, [(key, served, START_MS), (key, b"\xff\xff", START_MS)])
    writer.close_sync()
    return tmp_path / "log"


def test_the_embedded_log_becomes_impressions(log_dir):
    """Training reads the directory that the services write; a broken event is counted."""
    impressions = impressions_from_log(log_dir)
    targets = impressions.take(impressions.weight > 0)
    assert targets.post_ids.tolist() == [1, 2]
    assert targets.column("favorite").tolist() == [0, 1]
    assert join_log(log_dir).rejected == {"served event that cannot be decoded": 1}


def test_events_after_the_cut_are_not_seen(log_dir):
    """What is held out for evaluation must stay out."""
    assert len(impressions_from_log(log_dir, until_ms=START_MS)) == 0
    early = join_log(log_dir, until_ms=START_MS + MINUTE_MS)
    assert early.counts["immature"] == 2
    assert early.counts["targets"] == 0


def test_histories_end_before_the_cut():
    """An action of that very moment is held out, for histories as for labels."""
    actions = [action_event(1, post, FAVORITE, START_MS + post - 1) for post in (1, 2)]
    assert join_events([], actions, until_ms=START_MS + 1).impressions.post_ids.tolist() == [1]


def test_a_missing_log_is_named(tmp_path):
    """A misspelt path must not train on nothing."""
    with pytest.raises(ValueError, match="nowhere is no directory"):
        impressions_from_log(tmp_path / "nowhere")
