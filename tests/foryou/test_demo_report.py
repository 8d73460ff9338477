"""What the demo prints is read by people and by programs; both must get the feed as served."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from foryou import demo_report
from foryou.demo import DemoResult
from foryou.phases import Phase
from foryou.quality import Captured
from foryou.tables import served, strongest_terms
from protos import home_mixer_pb2 as pb


def fate(post_id: int, position: int, name: str = "served") -> pb.CandidateFate:
    terms = [("reply", 0.01, 5.0), ("favorite", 0.3, 0.5), ("report", 0.001, -234.0)]
    return pb.CandidateFate(
        post_id=post_id,
        author_id=post_id + 100,
        fate=name,
        position=position,
        score=1.0 / (2 + position),
        in_network=position == 0,
        text=f"Text of [{post_id}].",
        author_screen_name=f"author_{post_id}",
        terms=[
            pb.ScoreTerm(head=head, value=value, weight=weight, contribution=value * weight)
            for head, value, weight in (*terms, ("click", 0.0, 0.3))
        ],
    )


@pytest.fixture
def result(world) -> DemoResult:
    response = pb.ExplainResponse(
        response=pb.ScoredPostsResponse(params_hash="abc", model_version="m-1"),
        candidates=[fate(2, 1), fate(1, 0), fate(3, -1, "removed")],
        fate_counts={"served": 2, "removed": 1},
    )
    return DemoResult(
        world=world,
        viewer_id=42,
        response=response,
        first_feed_seconds=12.3456,
        phases=(Phase("world", 1.5), Phase("feed", 0.25)),
        captured=Captured(0.7, 0.2, 200, {"newest": 1.0, "oracle": 2.0}),
        addresses={"home-mixer": "127.0.0.1:9"},
        training={},
    )


def test_the_feed_is_in_the_order_of_its_positions(result):
    assert [post.post_id for post in served(result.response)] == [1, 2]


def test_the_strongest_terms_are_signed_and_sorted_by_size():
    assert strongest_terms(fate(1, 0)) == "report -0.234, favorite +0.150, reply +0.050"


def test_the_json_object_has_the_agreed_fields(result):
    shown = json.loads(json.dumps(demo_report.as_json(result)))
    assert shown["time_to_first_feed_seconds"] == pytest.approx(12.346)
    assert shown["phases"] == [
        {"name": "world", "seconds": 1.5},
        {"name": "feed", "seconds": 0.25},
    ]
    assert shown["viewer_id"] == 42
    assert shown["captured_engagement"] == {"ours": 0.7, "popularity": 0.2}
    assert shown["addresses"] == {"home-mixer": "127.0.0.1:9"}
    assert (shown["params_hash"], shown["model_version"]) == ("abc", "m-1")
    first = shown["posts"][0]
    assert first.keys() == {"post_id", "author_id", "score", "in_network", "text", "terms"}
    assert first["post_id"] == 1
    assert first["terms"]["report"] == pytest.approx(-0.234)


def test_the_table_shows_texts_as_they_are(result):
    """Brackets of a post must not be taken for markup."""
    stream = io.StringIO()
    demo_report.show(result, Console(file=stream, width=160))
    printed = stream.getvalue()
    assert "Text of [1]." in printed
    assert printed.index("author_1") < printed.index("author_2")
    assert "0.700" in printed


def test_how_to_call_names_the_addresses_that_serve(result):
    text = demo_report.how_to_call(result, Path("/data"))
    assert "foryou report /data/checkpoints/ranker --data-dir /data" in text
    assert "foryou feed 42 --address 127.0.0.1:9" in text
    assert "grpcurl" in text
