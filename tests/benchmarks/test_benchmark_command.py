"""One command measures: it must answer programs in JSON, keep results, and refuse a wrong call."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks.__main__ import main, save
from benchmarks.areas import AREAS
from benchmarks.harness import Line, Report, Timing, sized
from foryou.cli import run


def test_options_of_an_area_pass_through_foryou_bench(capfd):
    """`foryou bench pipeline --candidates 700 --json` is what the README promises."""
    code = run(["bench", "pipeline", "--candidates", "700", "--repeats", "2", "--json"])
    said = json.loads(capfd.readouterr().out)
    assert code == 0
    assert said["area"] == "pipeline"
    assert said["workload"]["candidates"] == [700]


def test_an_unknown_area_names_those_that_exist(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["no-such-area"])
    assert stop.value.code == 2
    assert "pipeline" in capsys.readouterr().err


def test_a_number_that_cannot_be_measured_is_a_wrong_call(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["pipeline", "--quick", "--repeats", "1"])
    assert stop.value.code == 2
    assert "repeats is 1" in capsys.readouterr().err


def test_a_saved_report_is_read_as_it_was_measured(tmp_path):
    """The page of figures is written from these files alone."""
    report = Report(
        "an-area",
        {"size": 3},
        {"size 3": {"ours": Timing.of([0.001, 0.002])}},
        [Line("ours / floor", 1.5, 1.4, "at most")],
    )
    found = json.loads(save(report, ["an-area", "--quick"], tmp_path).read_text())
    assert found["timings"]["size 3"]["ours"]["median"] == pytest.approx(1.5)
    assert found["lines"] == [
        {"what": "ours / floor", "measured": 1.5, "bar": 1.4, "bound": "at most", "unit": "x"}
        | {"met": False}
    ]
    assert found["machine"]["cores"] >= 1
    assert found["command"] == "foryou bench an-area --quick"


def test_every_area_has_a_module_of_that_name_and_says_what_it_answers():
    for area, (module, answers) in AREAS.items():
        assert module.startswith("benchmarks."), area
        assert answers, area


def test_a_size_that_cannot_be_measured_is_refused() -> None:
    """`--posts 0` must not quietly measure a million."""
    options = argparse.Namespace(quick=True, posts=None)
    assert sized(options, "posts", 1_000, 10) == 10
    options.posts = 7
    assert sized(options, "posts", 1_000, 10) == 7
    options.posts = 0
    with pytest.raises(ValueError, match="--posts is 0; expected a number above 0"):
        sized(options, "posts", 1_000, 10)
