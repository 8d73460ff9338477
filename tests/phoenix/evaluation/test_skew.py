"""The skew check passes on what was served, and names every kind of difference that is planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pytest

from home_mixer.clients.protocols import ActionRows
from home_mixer.query_hydrators.aggregation import aggregate
from phoenix.checkpoint import save
from phoenix.config import ranker_preset
from phoenix.evaluation.skew import check_skew
from phoenix.evaluation.skew_log import LoggedFeed, SkewLog
from phoenix.features import ContextInputs
from phoenix.ranker import Ranker
from phoenix.serving.inputs import build_candidates, build_context, context_time_ms
from protos import actions_pb2, events_pb2, phoenix_pb2
from service_kit.action_list import ACTION_NAMES, MODEL_ACTIONS
from service_kit.action_windows import UAS_WINDOW_TIME_MS
from service_kit.snowflake import first_id_at

NOW_MS = 1_790_000_000_000
STEP_MS = 60_000
VIEWERS = (7, 8, 9)
OPEN_LINK = actions_pb2.ACTION_OPEN_LINK  # an action that the model has no head for


@pytest.fixture(scope="module")
def config():
    return ranker_preset("nano").with_actions(MODEL_ACTIONS)


@pytest.fixture(scope="module")
def models(config, tmp_path_factory):
    """Two rankers in one directory of versions: (directory, versions, parameters)."""
    directory = tmp_path_factory.mktemp("checkpoints")
    versions, params = [], []
    for seed in (1, 2):
        params.append(Ranker(config).init(seed))
        dense = params[-1]["dense"]["ranker"]
        keys = jax.random.split(jax.random.key(seed), len(dense))
        for key, (name, value) in zip(keys, dense.items(), strict=True):
            dense[name] = value + 0.3 * jax.random.normal(key, value.shape)  # heads start at zero
        path = save(directory, step=seed, config=config, params=params[-1], meta={})
        meta = (path / "meta.json").read_text()
        versions.append(meta.split('"model_version": "')[1].split('"')[0])
    return directory, versions, params


def actions_of(viewer):
    """Twelve posts, one every ten minutes, some with several actions, the last one young."""
    rows = []
    for number in range(12):
        at_ms = NOW_MS - (12 - number) * 600_000 + 1_000
        post = first_id_at(NOW_MS - 9_000_000) + viewer * 100 + number
        rows.append((post, actions_pb2.ACTION_FAVORITE, at_ms, 0.0))
        if number % 2:
            rows.append((post, actions_pb2.ACTION_DWELL, at_ms + 4_000, 3.5 + number))
        if number % 3 == 0:
            rows.append((post + 50, OPEN_LINK, at_ms + 9_000, 0.0))
    return rows


def action_event(viewer, post, action, at_ms, seconds):
    return events_pb2.ActionEvent(
        user_id=viewer,
        post_id=post,
        author_id=post % 13 + 1,
        action=action,
        acted_at_ms=at_ms,
        seconds=seconds,
        product_surface=1,
    )


def served_event(config, params, version, viewer):
    """What home_mixer would log of one feed that phoenix scored."""
    raw = actions_of(viewer)
    posts = np.array([row[0] for row in raw], np.uint64)
    history = aggregate(
        ActionRows(
            post_id=posts,
            author_id=posts % np.uint64(13) + np.uint64(1),
            action=np.array([row[1] for row in raw], np.uint8),
            acted_at_ms=np.array([row[2] for row in raw], np.int64),
            product_surface=np.ones(len(raw), np.int8),
            seconds=np.array([row[3] for row in raw], np.float32),
        ),
        UAS_WINDOW_TIME_MS,
    )
    sequence = phoenix_pb2.UserActionSequence(
        user_id=viewer,
        actions=[
            phoenix_pb2.AggregatedAction(
                post_id=int(history.post_ids[i]),
                author_id=int(history.author_ids[i]),
                acted_at_ms=int(history.acted_at_ms[i]),
                actions=[n + 1 for n in range(25) if int(history.action_bits[i]) >> n & 1],
                dwell_seconds=float(history.dwell_seconds[i]),
                product_surface=1,
            )
            for i in range(len(history))
        ],
    )
    scored = [first_id_at(NOW_MS - 3_000_000) + n for n in range(5)]
    candidates = [phoenix_pb2.CandidatePost(post_id=p, author_id=p % 13 + 1) for p in scored]
    inputs: ContextInputs = build_context(config, sequence, NOW_MS, STEP_MS).inputs
    output = Ranker(config).predict(params, inputs, build_candidates(config, candidates, 1, NOW_MS))
    log_probs = np.full((len(scored), len(ACTION_NAMES)), np.nan, np.float32)
    log_probs[:, : config.num_actions] = output.log_probs[0]
    return events_pb2.ServedEvent(
        viewer_id=viewer,
        request_id=f"1-{viewer}",
        served_at_ms=NOW_MS,
        product_surface=1,
        model_version=version,
        posts=[
            events_pb2.ServedPost(
                post_id=1 + n,  # the first is a repost of the first that was scored
                author_id=5,
                log_probs=log_probs[n].tolist(),
                dwell_seconds=float(output.dwell_seconds[0, n]),
            )
            if n == 0
            else events_pb2.ServedPost(
                post_id=post,
                author_id=post % 13 + 1,
                log_probs=log_probs[n].tolist(),
                dwell_seconds=float(output.dwell_seconds[0, n]),
            )
            for n, post in enumerate(scored)
        ],
        features=events_pb2.ServedFeatures(
            context_at_ms=context_time_ms(NOW_MS, STEP_MS),
            history_post_ids=history.post_ids.tolist(),
            history_author_ids=history.author_ids.tolist(),
            history_ago_ms=(NOW_MS - history.acted_at_ms).tolist(),
            history_action_bits=history.action_bits.tolist(),
            history_dwell_seconds=history.dwell_seconds.tolist(),
            history_surfaces=history.product_surface.tolist(),
            scored_post_ids=scored,
            scored_author_ids=[post % 13 + 1 for post in scored],
            scored_video_duration_ms=[0] * len(scored),
        ),
    )


@pytest.fixture(scope="module")
def served(config, models):
    """The served events, as bytes."""
    _, versions, params = models
    events = [served_event(config, params[0], versions[0], viewer) for viewer in VIEWERS]
    return [event.SerializeToString() for event in events]


@pytest.fixture
def make_log(served):
    """A fresh log whose feeds a test may change."""

    def make(actions: Callable = lambda events: events) -> SkewLog:
        log = SkewLog()
        log.add_served_bytes([*served, served[0]])
        for event in actions([action_event(v, *row) for v in VIEWERS for row in actions_of(v)]):
            log.events.add_action(event)
        scored = first_id_at(NOW_MS - 3_000_000)
        create = events_pb2.PostCreate(
            post_id=1, author_id=5, reposted_post_id=scored, reposted_user_id=scored % 13 + 1
        )
        log.events.add_post(events_pb2.PostEvent(create=create))
        return log

    return make


def change(log: SkewLog, how: Callable[[LoggedFeed], LoggedFeed]) -> SkewLog:
    log.feeds = {request: how(feed) for request, feed in log.feeds.items()}
    return log


def with_history(feed: LoggedFeed, **columns: object) -> LoggedFeed:
    return replace(feed, history=replace(feed.history, **columns))


def test_what_was_served_is_what_training_sees(make_log, models):
    """Else nobody could trust a model that was measured offline."""
    report = check_skew(make_log(), models[0])
    assert report.reasons() == []
    assert (report.served, report.feeds, report.scored, report.equal) == (4, 3, 3, 3)
    assert report.probability_difference <= 1e-5
    assert report.examples == {}


PLANTED = {
    "dwell in milliseconds": (
        lambda feed: with_history(feed, dwell_seconds=feed.history.dwell_seconds * 1000),
        {"history_dwell_seconds"},
    ),
    "an action index shifted": (
        lambda feed: with_history(feed, actions=np.roll(feed.history.actions, 1, axis=1)),
        {"history_actions"},
    ),
    "history off by one": (
        lambda feed: with_history(feed, post_ids=np.roll(feed.history.post_ids, 1)),
        {"history_post_ids"},
    ),
    "a request's clock that is an hour ahead": (
        lambda feed: with_history(feed, first_at_ms=feed.history.first_at_ms - 3_600_000),
        {"history_age_seconds"},
    ),
    "authors forgotten": (
        lambda feed: with_history(feed, author_ids=np.zeros_like(feed.history.author_ids)),
        {"history_author_ids"},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_skew_is_found_and_named(make_log, models, name):
    """Each of these has quietly spoilt somebody's recommender."""
    how, fields = PLANTED[name]
    report = check_skew(change(make_log(), how), models[0])
    assert report.probability_difference > 1e-5
    assert fields <= set(report.differing)
    assert any(reason.startswith("features: 3 of 3 feeds differ") for reason in report.reasons())
    assert "training makes" in report.examples[min(fields)]


def test_a_repost_that_was_scored_as_itself_is_found(make_log, models):
    """The ranker never learned anything about a repost's own id."""
    log = change(make_log(), lambda feed: replace(feed, scored_post_ids=feed.served_post_ids))
    assert set(check_skew(log, models[0]).differing) == {"candidate_post_ids"}


def test_predictions_of_another_checkpoint_are_found(make_log, models):
    """A version that names the wrong parameters makes every measurement one of another model."""
    directory, versions, _ = models
    log = change(make_log(), lambda feed: replace(feed, model_version=versions[1]))
    report = check_skew(log, directory)
    assert report.equal == 3
    assert any("not the checkpoint of its name" in reason for reason in report.reasons())


def test_a_missing_checkpoint_is_no_success(make_log, models):
    """Nothing checked must not look like nothing wrong."""
    log = change(make_log(), lambda feed: replace(feed, model_version="gone-1"))
    report = check_skew(log, models[0])
    assert report.other_models == {"gone-1": 3}
    assert any(reason.startswith("nothing to check") for reason in report.reasons())


def test_actions_on_their_way_to_the_store_are_allowed_and_counted(make_log, models):
    """The feature store is behind the log by what the way takes; that is no bug."""

    def later(events):
        late = action_event(VIEWERS[0], 4_321, actions_pb2.ACTION_FAVORITE, NOW_MS - 2_000, 0.0)
        return [*events, late]

    report = check_skew(make_log(later), models[0])
    assert report.reasons() == []
    assert report.young_events == 1
    strict = check_skew(make_log(later), models[0], fresh_ms=1_000)
    assert strict.differing["history_post_ids"] == 1
    assert any(reason.startswith("features: 1 of 3") for reason in strict.reasons())


def test_windows_that_are_open_at_the_request_are_allowed_and_counted(make_log, models):
    """Training waits until a window has ended, serving shows what there is."""

    def goes_on(events):
        last = max((e for e in events if e.user_id == VIEWERS[1]), key=lambda e: e.acted_at_ms)
        first = action_event(VIEWERS[1], 999, actions_pb2.ACTION_FAVORITE, NOW_MS - 60_000, 0.0)
        return [*events, first, action_event(VIEWERS[1], 999, 5, NOW_MS + 60_000, 0.0), last]

    report = check_skew(make_log(goes_on), models[0])
    assert report.open_events == 1
    assert report.reasons() == []


def test_features_that_do_not_fit_together_are_counted(served):
    """A writer's bug must be seen, and not end the check of all other feeds."""
    event = events_pb2.ServedEvent.FromString(served[0])
    event.features.history_ago_ms.append(1)
    log = SkewLog()
    log.add_served_bytes([event.SerializeToString(), b"\xff\xff"])
    assert log.feeds == {}
    assert sorted(log.unusable.values()) == [1, 1]
