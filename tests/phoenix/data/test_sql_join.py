"""One SQL text, two engines, one result: that of plain dicts and loops, and of the numpy join."""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix.data.event_rows import topic_rows
from phoenix.data.export import DIRECTORIES
from phoenix.data.impressions import Impressions
from phoenix.data.join import join_events as join_with_numpy
from phoenix.data.parquet import impressions_schema
from phoenix.data.sql_join import (
    JAVA_HOW_TO,
    EngineMissingError,
    JoinSettings,
    event_files,
    join_events,
    join_sql,
    join_with_duckdb,
    join_with_spark,
    local_spark,
)
from protos import events_pb2
from service_kit.action_list import ACTION_INDEX, MODEL_ACTIONS
from service_kit.action_windows import DWELL_ACTIONS, UAS_WINDOW_TIME_MS
from service_kit.event_log import Record

WINDOW_MS = 1_800_000
HISTORY_MS = 300_000
START_MS = 1_790_000_000_000
END_MS = (1 << 62) - 1
ACTIONS = (1, 5, 11, 18, 19, 20, 99)  # favourite to report, both dwells, one without head, unknown
# Around the edges of both windows, and around each other.
TIMES_MS = [
    START_MS + base + edge
    for base in (0, 1_000, HISTORY_MS, 2 * HISTORY_MS, WINDOW_MS, 2 * WINDOW_MS, 5 * WINDOW_MS)
    for edge in (-1, 0, 1)
]


def served_event(viewer, posts, at_ms, request, surface=1):
    return events_pb2.ServedEvent(
        viewer_id=viewer,
        request_id=request,
        served_at_ms=at_ms,
        product_surface=surface,
        posts=[events_pb2.ServedPost(post_id=p, author_id=100 + p) for p in posts],
    )


def action_event(user, post, action, at_ms, seconds=0.0, request="", surface=1):
    return events_pb2.ActionEvent(
        user_id=user,
        post_id=post,
        author_id=100 + post,
        action=action,
        acted_at_ms=at_ms,
        seconds=seconds,
        request_id=request,
        product_surface=surface,
    )


def repost_event(post, original, author):
    create = events_pb2.PostCreate(
        post_id=post, author_id=100 + post, reposted_post_id=original, reposted_user_id=author
    )
    return events_pb2.PostEvent(create=create)


@st.composite
def logs(draw):
    """Duplicates, disorder, missing and unknown request ids, reposts, edges of windows."""
    viewers, posts = st.integers(1, 2), st.integers(1, 3)
    times, requests = st.sampled_from(TIMES_MS), st.sampled_from(["", "", "r1", "r2", "r3"])
    surfaces = st.sampled_from([0, 1, 2, 77])
    served = st.builds(
        served_event, viewers, st.lists(posts, min_size=1, max_size=3), times, requests, surfaces
    )
    acted = st.builds(
        action_event,
        *(viewers, posts, st.sampled_from(ACTIONS), times),
        *(st.sampled_from([0.0, 2.0, 7.0, math.nan, math.inf]), requests, surfaces),
    )
    reposts = st.builds(repost_event, posts, st.integers(50, 51), st.sampled_from([0, 700]))
    return (
        draw(st.lists(served, max_size=8)),
        draw(st.lists(acted, max_size=14)),
        draw(st.lists(reposts, max_size=2)),
    )


def big_log(seed, events=1_600):
    """Many viewers over hours, with the same troubles, for the engine that is slow to start."""
    rng = random.Random(seed)
    served, acted = [], []
    for number in range(events // 4):
        viewer, at_ms = rng.randint(1, 60), START_MS + rng.randint(0, 6 * WINDOW_MS)
        request = rng.choice(["", f"{number}-{viewer}"])
        posts = rng.sample(range(1, 40), 4)
        served.append(served_event(viewer, posts, at_ms, request, rng.randint(0, 3)))
        for _ in range(rng.randint(0, 3)):
            delay_ms = rng.choice([-5, 0, 1, 60_000, HISTORY_MS, WINDOW_MS - 1, WINDOW_MS])
            named = rng.choice([request, "", "unknown"])
            post, action = rng.choice([*posts, 41]), rng.choice(ACTIONS)
            acted.append(
                action_event(viewer, post, action, at_ms + delay_ms, rng.random() * 9, named)
            )
    served += rng.sample(served, len(served) // 5)
    acted += rng.sample(acted, len(acted) // 5)
    rng.shuffle(served)
    rng.shuffle(acted)
    reposts = [repost_event(post, 1_000 + post, rng.choice([0, 7])) for post in range(30, 40)]
    return served, acted, reposts


def write_log(directory, log):
    """As `foryou export` leaves it, in two parts a topic."""
    shutil.rmtree(directory, ignore_errors=True)
    collectors = topic_rows()
    for (topic, name), events in zip(DIRECTORIES.items(), log, strict=True):
        (directory / name).mkdir(parents=True)
        for part, some in enumerate((events[::2], events[1::2])):
            for offset, event in enumerate(some):
                value = event.SerializeToString()
                collectors[topic].add(Record(topic, part, offset, 0, b"", value))
            pq.write_table(collectors[topic].take(), directory / name / f"part-{part:06d}.parquet")
    return directory


def oracle(log, until_ms=END_MS, after_ms=-1):
    """What the rules say, with dicts and loops; rows as `rows_of` gives them, in any order."""
    served, acted, posts = log
    shown = {}  # (viewer, post, request, time without request) -> (time, author, surface)
    for event in served:
        if event.served_at_ms < until_ms:
            surface = event.product_surface if event.product_surface <= 6 else 0
            for post in event.posts:
                timed = 0 if event.request_id else event.served_at_ms
                key = (event.viewer_id, post.post_id, event.request_id, timed)
                value = (event.served_at_ms, post.author_id, surface)
                shown[key] = min(shown.get(key, value), value)
    actions = {}  # (user, post, time, action) -> the copy that counts
    for event in acted:
        if event.acted_at_ms < until_ms:
            seconds = event.seconds if 0 < event.seconds < math.inf else 0.0
            surface = event.product_surface if event.product_surface <= 6 else 0
            key = (event.user_id, event.post_id, event.acted_at_ms, event.action)
            copies = actions.setdefault(key, [])
            copies.append((seconds, event.request_id, -event.author_id, -surface))
    actions = {key: max(copies) for key, copies in actions.items()}
    originals = {}
    for event in posts:
        create = event.create
        before = originals.get(create.post_id, (0, 0))
        originals[create.post_id] = (
            max(before[0], create.reposted_post_id),
            max(before[1], create.reposted_user_id),
        )
    rows = _training_rows(shown, actions, originals, until_ms, after_ms)
    return Counter(rows + _history_rows(actions, until_ms, after_ms))


def _training_rows(shown, actions, originals, until_ms, after_ms):
    of_impression = defaultdict(list)
    for (user, post, at_ms, action), (seconds, request, _, _) in sorted(actions.items()):
        candidates = [
            (value[0], key[2], key)
            for key, value in shown.items()
            if key[:2] == (user, post) and value[0] <= at_ms
        ]
        named = [c for c in candidates if request and c[1] == request]
        for served_at_ms, _, key in named or sorted(candidates)[-1:]:
            if at_ms - served_at_ms < WINDOW_MS:
                of_impression[key].append((action, seconds))
    rows = []
    for key, (served_at_ms, author, surface) in shown.items():
        closed_ms = served_at_ms + WINDOW_MS
        if closed_ms > until_ms or closed_ms <= after_ms:
            continue
        post, reposted_author = originals.get(key[1], (key[1], 0))
        what = _what(of_impression[key])
        author = reposted_author or author
        rows.append((key[0], post, author, served_at_ms, surface, 1.0, False, closed_ms, *what))
    return rows


def _history_rows(actions, until_ms, after_ms):
    rows, open_rows = [], {}
    for (user, post, at_ms, action), copy in sorted(actions.items()):
        row = open_rows.get((user, post))
        if row is None or at_ms - row["first"] >= HISTORY_MS:
            row = {"first": at_ms, "copy": copy, "done": []}
            open_rows[user, post] = row
            rows.append((user, post, row))
        row["last"] = at_ms
        row["done"].append((action, copy[0]))
    return [
        (
            user,
            post,
            -row["copy"][2],
            row["first"],
            -row["copy"][3],
            0.0,
            True,
            row["last"],
            *_what(row["done"]),
        )
        for user, post, row in rows
        if after_ms < 0 or after_ms < row["first"] + HISTORY_MS <= until_ms
    ]


def _what(done):
    """(names of labels, dwell seconds or -1)."""
    names = sorted(
        {name for name in MODEL_ACTIONS if any(a == ACTION_INDEX[name] + 1 for a, _ in done)}
    )
    dwell = max((s for a, s in done if a in DWELL_ACTIONS and s > 0), default=-1.0)
    return tuple(names), dwell


def rows_of(impressions: Impressions) -> list[tuple]:
    """Rows as plain values, in the order of the impressions."""
    names = impressions.action_names
    return [
        (
            *(int(impressions.viewer_ids[i]), int(impressions.post_ids[i])),
            *(int(impressions.author_ids[i]), int(impressions.impressed_at_ms[i])),
            *(int(impressions.product_surface[i]), float(impressions.weight[i])),
            *(bool(impressions.in_history[i]), int(impressions.known_at_ms[i])),
            tuple(sorted(n for n, on in zip(names, impressions.labels[i], strict=True) if on)),
            -1.0
            if math.isnan(impressions.dwell_seconds[i])
            else float(impressions.dwell_seconds[i]),
        )
        for i in range(len(impressions))
    ]


def joined(directory, log, **limits):
    out = directory / "impressions.parquet"
    join_events(write_log(directory / "events", log), out, JoinSettings(**limits))
    return rows_of(Impressions.read_parquet(out))


@given(log=logs(), until_ms=st.one_of(st.none(), st.sampled_from(TIMES_MS)))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sql_on_duckdb_equals_dicts_and_loops_and_the_numpy_join(tmp_path, log, until_ms):
    """A label lost, doubled or moved by the SQL would teach the model what nobody did."""
    limits = {} if until_ms is None else {"until_ms": until_ms}
    made = joined(tmp_path, log, **limits)
    assert Counter(made) == oracle(log, **limits)
    assert made == rows_of(join_with_numpy(*log, until_ms=until_ms).impressions)


@given(log=logs(), cuts=st.lists(st.sampled_from(TIMES_MS), min_size=1, max_size=3, unique=True))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_joined_as_their_windows_close_are_the_whole(tmp_path, log, cuts):
    """A nightly join must bring each impression once, and as it would be known at the end."""
    pieces = Counter()
    after_ms = 0
    for cut in sorted(cuts):
        grown = [  # what had happened by then is all that the log holds then
            [e for e in log[0] if e.served_at_ms < cut],
            [e for e in log[1] if e.acted_at_ms < cut],
            log[2],
        ]
        pieces += Counter(joined(tmp_path, grown, until_ms=cut, after_ms=after_ms))
        after_ms = cut
    # The rest: later than everything, so that all windows are closed.
    pieces += Counter(joined(tmp_path, log, until_ms=START_MS + 100 * WINDOW_MS, after_ms=after_ms))
    assert pieces == Counter(joined(tmp_path, log))


@pytest.fixture(scope="module")
def spark():
    """One for all tests of this file: it takes many seconds to start."""
    try:
        with local_spark() as session:
            yield session
    except EngineMissingError as error:
        pytest.skip(str(error))


def test_spark_and_duckdb_write_the_same_rows(tmp_path, spark):
    """A model trained on the cluster must see what the one at home sees."""
    log, until_ms = big_log(seed=7), START_MS + 4 * WINDOW_MS
    tables = event_files(write_log(tmp_path / "events", log))
    limits = JoinSettings(until_ms=until_ms)
    counts = [
        join_with_duckdb(tables, tmp_path / "duckdb.parquet", limits),
        join_with_spark(tables, tmp_path / "spark.parquet", limits, spark),
    ]
    by_duckdb, by_spark = (pq.read_table(tmp_path / f"{e}.parquet") for e in ("duckdb", "spark"))
    assert counts == [len(by_duckdb), len(by_spark)]
    assert by_duckdb.schema.equals(by_spark.schema, check_metadata=True)
    made = rows_of(Impressions.read_parquet(tmp_path / "spark.parquet"))
    assert made == rows_of(Impressions.read_parquet(tmp_path / "duckdb.parquet"))
    assert Counter(made) == oracle(log, until_ms=until_ms)
    assert made == rows_of(join_with_numpy(*log, until_ms=until_ms).impressions)


def test_the_sql_names_every_column_and_every_head():
    """A head added to the list would otherwise be trained on nothing."""
    text = join_sql()
    for name in MODEL_ACTIONS:
        assert f"action = {ACTION_INDEX[name] + 1} THEN 1 ELSE 0 END) = 1 AS label_{name}" in text
    assert text.count(f"{UAS_WINDOW_TIME_MS} ") + text.count(f"{UAS_WINDOW_TIME_MS}\n") >= 5
    assert f"action IN {DWELL_ACTIONS}" in text
    last = text[text.rindex("SELECT viewer_ids") :]
    assert all(name in last for name in impressions_schema(MODEL_ACTIONS).names)


def test_what_is_no_export_is_named(tmp_path):
    """A misspelt directory must not become an empty training set."""
    with pytest.raises(ValueError, match="served holds no part-"):
        join_events(tmp_path, tmp_path / "out.parquet")
    with pytest.raises(ValueError, match="expected one of duckdb, spark"):
        join_events(tmp_path, tmp_path / "out.parquet", engine="hive")
    with pytest.raises(ValueError, match="the second must be the greater one"):
        JoinSettings(until_ms=5, after_ms=5)


def test_without_java_spark_says_how_to_get_it(monkeypatch):
    """The cluster's engine is optional; its absence is no traceback."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(EngineMissingError, match="install a JDK"), local_spark():
        pass
    assert "--engine duckdb" in JAVA_HOW_TO
