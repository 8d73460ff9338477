"""The benchmark of ingestion measures the work that it names, or says what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.ingest.flow import batches_of, check_holds, decode_and_insert
from benchmarks.ingest.workload import make
from protos.events_pb2 import InNetworkEvent
from service_kit.clock import SystemClock
from service_kit.event_log import event_key
from thunder.in_network import decode_in_network
from thunder.layout import VIDEO

NOW_MS = 1_790_000_000_000


def test_the_quick_size_runs_without_kafka_and_says_what_it_leaves_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--quick", "--no-kafka", "--posts", "2000", "--json"]
    assert main(["ingest", *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["timings"]["decode and insert"].keys() == {"ours", "an object an event"}
    assert report["figures"]["posts a second, embedded log"] > 0
    assert "left out: Kafka" in report["notes"][0]


def test_the_workload_is_written_as_the_generated_classes_write_it() -> None:
    """Laid out by hand: else a decoder could be fast on bytes that no feeder writes."""
    load = make(300, NOW_MS)
    for post, flags, key, value in zip(load.posts, load.flags, load.keys, load.values, strict=True):
        event = InNetworkEvent.FromString(value)
        assert event.SerializeToString() == value
        create = event.create
        assert key == event_key(create.author_id)
        assert create.has_video == bool(flags & VIDEO)
        ids = (create.post_id, create.author_id, create.in_reply_to_post_id)
        assert ids == (post["post_id"], post["author_id"], post["in_reply_to_post_id"])
        assert create.reposted_post_id == post["source_post_id"]
        assert create.created_at_ms == post["created_at_ms"]
    assert len(np.unique(load.posts["post_id"])) == 300


def test_a_way_that_ingests_something_else_is_refused() -> None:
    load = make(500, SystemClock().now_ms())
    ours = decode_and_insert(batches_of(load), 500, decode_in_network)
    check_holds(ours, load, "ours")
    other = make(500, SystemClock().now_ms(), seed=2)
    with pytest.raises(ValueError, match="thief holds 500 posts that are not the 500 published"):
        check_holds(decode_and_insert(batches_of(other), 500, decode_in_network), load, "thief")
