"""The page of figures must be what was measured: no figure typed by hand, none left behind."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks.harness import Line, Report, Timing
from benchmarks.page.__main__ import BEGIN, END, ROOT, _with_table, contents, drifted
from benchmarks.page.page import all_pictures, newest, page, readme_table
from benchmarks.page.pictures import pictures


def saved(**changes):
    timing = Timing.of([0.001, 0.002, 0.004])
    report = Report(
        "store",
        {"posts": 10},
        {
            "100 follows": {"ours": timing, "C": timing},
            "1,000 follows": {"ours": timing, "C": timing},
        },
        [Line("ours / C", 1.7, 1.4, "at most"), Line("rate", 9.0, 8.0, "at least", "k/s")],
    )
    return {**report.as_json(), **changes}


def test_the_page_and_its_pictures_are_what_the_results_give():
    """A reader would see figures that no run gave."""
    assert drifted(ROOT / "docs", contents()) == [], "run `python -m benchmarks.page`"


def test_a_line_that_is_not_held_says_so(tmp_path):
    (tmp_path / "2026-11-22-store.json").write_text(json.dumps(saved()))
    text = page(newest(tmp_path))
    assert "| ours / C | 1.7 x | at most 1.4 x | **not held** |" in text
    assert "| rate | 9 k/s | at least 8 k/s | held |" in text


def test_the_newest_run_of_an_area_counts(tmp_path):
    (tmp_path / "2026-11-21-store.json").write_text(json.dumps(saved(date="2026-11-21")))
    (tmp_path / "2026-11-22-store.json").write_text(json.dumps(saved(date="2026-11-22")))
    assert newest(tmp_path)["store"]["date"] == "2026-11-22"


def test_groups_that_differ_in_a_number_become_a_curve_of_cost_against_size():
    drawn = pictures(saved())
    assert set(drawn) == {"store-ranges", "store-size-follows"}


def test_every_picture_is_well_formed_and_holds_its_names(tmp_path):
    """A browser shows nothing of a picture that is not well-formed."""
    scan = {"flops": 1e9, "bytes": 1e8, "flop/s": 1e11}
    roof = {
        "scan <1>": {**scan, "peak flop/s": 1e12, "peak bytes/s": 3e10},
        "scan 2": {**scan, "peak bytes/s": 4e10},
        "scan 3": {**scan, "peak flop/s": 1e12},
    }
    load = [{"offered_per_s": 1.0, "p50_ms": 3.0, "p99_ms": 9.0}]
    figures = {"roofline": roof, "load": load, "milliseconds": {"home-mixer": 3.0}}
    drawn = all_pictures({"store": saved(figures=figures)})
    assert len(drawn) == 5
    for svg in drawn.values():
        ElementTree.fromstring(svg)
    assert "limit of scan &lt;1&gt;" in drawn["store-roofline.svg"]


def test_the_readme_keeps_all_but_its_table():
    """Figures in the README must be those of the runs, and its prose nobody's but its writers'."""
    text = f"before\n{BEGIN}\nold\n{END}\nafter"
    new = _with_table(text, readme_table({"store": saved()}))
    assert new.startswith("before\n")
    assert new.endswith("\nafter")
    assert "| ours / C | 1.7 x |" in new
    assert "old" not in new
    assert "k/s" not in new  # held, and not the area's first line
    with pytest.raises(ValueError, match="wants the lines"):
        _with_table("no place", "")


def test_the_readme_shows_every_line_that_does_not_hold():
    """Who reads the README alone would take what was reached for all that was promised."""
    lines = saved()["lines"]
    table = readme_table({"store": saved(lines=lines[::-1])})
    assert "| rate |" in table
    assert "| ours / C | 1.7 x | at most 1.4 x | **not held** |" in table


def test_a_changed_or_forgotten_picture_is_drift(tmp_path):
    folder = tmp_path / "pictures" / "performance"
    folder.mkdir(parents=True)
    (folder / "old.svg").write_text("")
    (tmp_path / "performance.md").write_text("typed by hand")
    assert drifted(tmp_path, {"performance.md": "from the results"}) == [
        "performance.md",
        "pictures/performance/old.svg",
    ]
