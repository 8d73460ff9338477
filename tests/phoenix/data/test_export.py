"""The export: every event in exactly one part, also when it is done again or dies half way."""

from __future__ import annotations

import asyncio

import pyarrow.parquet as pq
import pytest

from phoenix.data.event_rows import ACTIONS_SCHEMA, POSTS_SCHEMA, SERVED_SCHEMA
from phoenix.data.export import export_topics, part_files
from phoenix.data.join import join_log
from phoenix.data.sql_join import join_events
from protos import actions_pb2, events_pb2
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_POSTS, TOPIC_SERVED, event_key

START_MS = 1_790_000_000_000
TOPICS = (TOPIC_SERVED, TOPIC_ACTIONS, TOPIC_POSTS)


def served(number):
    event = events_pb2.ServedEvent(
        viewer_id=number % 3 + 1,
        request_id=f"r{number}",
        served_at_ms=START_MS + number,
        product_surface=1,
        model_version="m-1",
        posts=[
            events_pb2.ServedPost(post_id=5, author_id=6, position=0, log_probs=[-1.0, -2.0]),
            events_pb2.ServedPost(post_id=7, author_id=8, position=1),
        ],
    )
    return event.SerializeToString()


def acted(number):
    return events_pb2.ActionEvent(
        user_id=number % 3 + 1,
        post_id=5,
        author_id=6,
        action=actions_pb2.ACTION_DWELL,
        acted_at_ms=START_MS + number + 50,
        seconds=2.5,
        request_id=f"r{number}",
    ).SerializeToString()


@pytest.fixture
def log(tmp_path):
    """A log's directory, and how to append to it."""

    def append(topic, *values):
        writer = EmbeddedLogWriter(tmp_path / "log", partitions=dict.fromkeys(TOPICS, 2))
        for number, value in enumerate(values):
            writer.append_many_sync(topic, [(event_key(number), value, START_MS)])
        writer.close_sync()

    append(TOPIC_POSTS, _create(5).SerializeToString())
    append.directory = tmp_path / "log"
    return append


def _create(post_id):
    video = events_pb2.Media(kind=events_pb2.Media.KIND_VIDEO, duration_ms=9_000)
    create = events_pb2.PostCreate(
        post_id=post_id, author_id=6, created_at_ms=START_MS, text="not for export", media=[video]
    )
    return events_pb2.PostEvent(create=create)


def export(log_dir, out, **options):
    async def run():
        source = EmbeddedLogSource(log_dir, TOPICS)
        try:
            return await export_topics(source, out, **options)
        finally:
            await source.close()

    return asyncio.run(run())


def rows_of(out, topic):
    return [row for part in part_files(out, topic) for row in pq.read_table(part).to_pylist()]


def test_a_second_export_adds_what_is_new_and_nothing_else(log, tmp_path):
    """A nightly export must neither lose nor double a day."""
    out = tmp_path / "events"
    log(TOPIC_SERVED, *map(served, range(4)))
    log(TOPIC_ACTIONS, *map(acted, range(4)))
    first = export(log.directory, out)
    assert (first[TOPIC_SERVED].rows, first[TOPIC_ACTIONS].rows) == (8, 4)
    log(TOPIC_SERVED, *map(served, range(3, 6)))
    second = export(log.directory, out)
    assert (second[TOPIC_SERVED].rows, second[TOPIC_SERVED].parts) == (6, 1)
    assert (second[TOPIC_ACTIONS].rows, second[TOPIC_ACTIONS].parts) == (0, 0)
    rows = rows_of(out, TOPIC_SERVED)
    assert len({(row["partition"], row["offset"], row["post_id"]) for row in rows}) == 14
    # What the log holds twice stays visible.
    assert sum(row["request_id"] == "r3" for row in rows) == 4


def test_an_export_that_died_is_taken_up_where_its_last_part_ends(log, tmp_path):
    """kill -9 between two parts must cost a repetition of work, not of rows."""
    out = tmp_path / "events"
    log(TOPIC_SERVED, *map(served, range(20)))
    export(log.directory, out, part_rows_max=10)
    parts = part_files(out, TOPIC_SERVED)
    assert len(parts) >= 3
    parts[-1].rename(parts[-1].with_name(f".{parts[-1].name}.tmp"))  # was never finished
    export(log.directory, out, part_rows_max=10)
    rows = rows_of(out, TOPIC_SERVED)
    assert len(rows) == 40
    assert len({(row["partition"], row["offset"], row["post_id"]) for row in rows}) == 40


def test_rows_hold_what_the_page_says_and_no_text(log, tmp_path):
    """Others read these files by their documented schema."""
    log(TOPIC_SERVED, served(0))
    log(TOPIC_ACTIONS, acted(0))
    export(log.directory, tmp_path / "events")
    schemas = {
        TOPIC_SERVED: SERVED_SCHEMA,
        TOPIC_ACTIONS: ACTIONS_SCHEMA,
        TOPIC_POSTS: POSTS_SCHEMA,
    }
    for topic, schema in schemas.items():
        (part,) = part_files(tmp_path / "events", topic)
        assert pq.read_schema(part).remove_metadata().equals(schema)
    first, second = rows_of(tmp_path / "events", TOPIC_SERVED)
    assert (first["post_id"], first["log_probs"], first["model_version"]) == (5, [-1, -2], "m-1")
    assert (second["post_id"], second["position"], second["log_probs"]) == (7, 1, [])
    (post,) = rows_of(tmp_path / "events", TOPIC_POSTS)
    assert (post["kind"], post["video_duration_ms"]) == ("create", 9_000)
    assert "not for export" not in str(post)


def test_poison_is_counted_and_read_once(log, tmp_path):
    """A broken event must be seen in a count, and must not stop the others."""
    out = tmp_path / "events"
    nobody = events_pb2.ServedEvent(served_at_ms=1).SerializeToString()
    log(TOPIC_SERVED, b"\xff\xff", nobody, served(1))
    first = export(log.directory, out)[TOPIC_SERVED]
    assert first.rejected == {
        "served event that cannot be decoded": 1,
        "served event without viewer or time": 1,
    }
    assert first.rows == 2
    assert export(log.directory, out)[TOPIC_SERVED].rejected == {}


def test_what_was_exported_joins_as_the_log_itself(log, tmp_path):
    """The way over Parquet must train the same model as the way from the log."""
    log(TOPIC_SERVED, *map(served, range(9)), served(1))
    log(TOPIC_ACTIONS, *map(acted, range(0, 9, 2)), acted(2))
    export(log.directory, tmp_path / "events", part_rows_max=5)
    rows = join_events(tmp_path / "events", tmp_path / "impressions.parquet")
    direct = join_log(log.directory).impressions
    direct.write_parquet(tmp_path / "direct.parquet")
    assert rows == len(direct) == 18 + 3  # one event a viewer, for all is within minutes
    by_sql = pq.read_table(tmp_path / "impressions.parquet")
    from_log = pq.read_table(tmp_path / "direct.parquet")
    assert by_sql.schema.equals(from_log.schema, check_metadata=True)
    for name in by_sql.schema.names:
        assert str(by_sql[name].to_pylist()) == str(from_log[name].to_pylist()), name


def test_a_strange_file_among_the_parts_is_named(log, tmp_path):
    """To go on from nowhere would export everything again beside it."""
    out = tmp_path / "events"
    export(log.directory, out)
    part_files(out, TOPIC_SERVED)[-1].write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="is no part of an export"):
        export(log.directory, out)
