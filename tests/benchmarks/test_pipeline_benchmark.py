"""A benchmark that compares different feeds, or other components than the product's, is void."""

import argparse
from typing import Any, cast

import pytest

from benchmarks.columnar_pipeline import columnar_pipeline
from benchmarks.feed_world import make_world
from benchmarks.harness import Report
from benchmarks.pipeline import add_arguments, check_same_feed, measure
from candidate_pipeline import Observer
from home_mixer.pipeline import Collaborators, build_pipeline
from home_mixer.settings import HomeMixerSettings
from service_kit.clock import ManualClock


def measured(*arguments: str) -> Report:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    add_arguments(parser)
    return measure(parser.parse_args(["--quick", *arguments]))


@pytest.mark.parametrize("arguments", [["--seed", "1"], ["--seed", "2", "--bloom"]], ids=str)
def test_columns_and_objects_give_the_same_feed(arguments: list[str]) -> None:
    """`measure` asserts it before timing."""
    report = measured(*arguments)
    assert report.figures["700 candidates"]["feed"] == 35
    assert set(report.timings["700 candidates"]) == {"columns", "objects", "objects, one clone"}
    assert not report.lines  # the lines are promised for the largest request alone


def test_the_promised_size_is_judged() -> None:
    """The README's ratio would silently be of another size."""
    names = [line.what for line in measured("--candidates", "2800", "--repeats", "2").lines]
    assert names == [
        "pipeline, 2,800 candidates: object pipeline / columns",
        "pipeline, 2,800 candidates: one request",
    ]


def test_a_difference_in_ids_or_scores_is_noticed() -> None:
    with pytest.raises(AssertionError, match="objects serves other posts"):
        check_same_feed({"columns": [(1, 0.5)], "objects": [(2, 0.5)]})
    with pytest.raises(AssertionError, match="objects scores differently"):
        check_same_feed({"columns": [(1, 0.5)], "objects": [(1, 0.5000001)]})


def test_the_measured_components_are_the_feeds_own() -> None:
    world = make_world(700)
    nothing = cast(Any, None)
    collaborators = Collaborators(
        clients=world.store.clients(),
        thunder=[nothing],
        retrieve=nothing,
        predict=nothing,
        events=nothing,
        clock=ManualClock(0),
    )
    real, _ = build_pipeline(HomeMixerSettings(), collaborators, Observer())
    wanted = {**real.component_names(), "SideEffect": ()}
    assert columnar_pipeline(world).component_names() == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--repeats", "1"], "repeats is 1"), (["--candidates", "5"], "at least")],
)
def test_numbers_that_cannot_be_measured_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured(*arguments)
