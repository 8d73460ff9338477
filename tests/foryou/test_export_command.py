"""`foryou export`, `foryou join` and `foryou eval skew` as an operator calls them."""

from __future__ import annotations

import json

from foryou.cli import run
from protos import events_pb2
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.event_log import TOPIC_SERVED, event_key

START_MS = 1_790_000_000_000


def test_a_log_becomes_a_parquet_of_impressions(tmp_path, capsys):
    """The two commands are the way from Kafka to a training on another machine."""
    event = events_pb2.ServedEvent(
        viewer_id=7,
        served_at_ms=START_MS,
        posts=[events_pb2.ServedPost(post_id=5, author_id=6)],
    )
    writer = EmbeddedLogWriter(tmp_path / "log")
    writer.append_many_sync(TOPIC_SERVED, [(event_key(7), event.SerializeToString(), START_MS)])
    writer.close_sync()
    events, out = tmp_path / "events", tmp_path / "impressions.parquet"
    assert run(["export", "--data-dir", str(tmp_path), "--out", str(events), "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported[TOPIC_SERVED] == {"rows": 1, "parts": 1, "lost": 0, "rejected": {}}
    assert run(["join", "--events", str(events), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 1, "out": str(out)}


def test_wrong_calls_say_what_is_wrong(tmp_path, capsys):
    """A misspelt directory or engine must not end in a traceback or an empty file."""
    out = ["--out", str(tmp_path / "out")]
    assert run(["export", "--data-dir", str(tmp_path), *out]) == 2
    assert "is no event log" in capsys.readouterr().err
    assert run(["eval", "skew", "--data-dir", str(tmp_path)]) == 2
    assert "is no event log" in capsys.readouterr().err
    assert run(["join", "--events", str(tmp_path), "--engine", "hive", *out]) == 2
    assert "expected one of duckdb, spark" in capsys.readouterr().err
    assert run(["join", "--events", str(tmp_path), *out]) == 1
    assert "holds no part-" in capsys.readouterr().err
