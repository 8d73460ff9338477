"""A benchmark that compares different feeds, or other components than the product's, is void."""

import json
from typing import Any, cast

import pytest

from benchmarks.columnar_pipeline import columnar_pipeline
from benchmarks.feed_world import make_world
from benchmarks.pipeline import check_same_feed, run
from candidate_pipeline import Observer
from home_mixer.pipeline import Collaborators, build_pipeline
from home_mixer.settings import HomeMixerSettings
from service_kit.clock import ManualClock


@pytest.mark.parametrize(("seed", "bloom"), [(1, False), (2, True), (3, False)])
def test_columns_and_objects_give_the_same_feed(
    seed: int, bloom: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` asserts it before timing; the printed report is what it returns."""
    report = run(candidates=700, repeats=2, json=True, seed=seed, bloom=bloom)
    assert json.loads(capsys.readouterr().out) == report
    assert report["feed_size"] == 35
    assert report["ratio"] > 0


def test_a_difference_in_ids_or_scores_is_noticed() -> None:
    with pytest.raises(AssertionError, match="objects serves other posts"):
        check_same_feed({"columnar": [(1, 0.5)], "objects": [(2, 0.5)]})
    with pytest.raises(AssertionError, match="objects scores differently"):
        check_same_feed({"columnar": [(1, 0.5)], "objects": [(1, 0.5000001)]})


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
    ("arguments", "message"), [({"repeats": 1}, "repeats is 1"), ({"candidates": 5}, "at least")]
)
def test_numbers_that_cannot_be_measured_are_refused(
    arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(**arguments)
