"""A peer that computes another function would make any speed look good."""

import argparse

import numpy as np
import pytest

from benchmarks.harness import Report
from benchmarks.scoring import add_arguments, check_probabilities, measure
from phoenix.fused.instructions import has_byte_instructions, has_instructions


@pytest.fixture(scope="module")
def report() -> Report:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    add_arguments(parser)
    return measure(parser.parse_args(["--quick", "--repeats", "2"]))


def test_the_serving_programs_equal_full_masked_attention(report: Report) -> None:
    """`measure` asserts it before timing; bfloat16 is only printed, and must be seen to differ."""
    differences = report.figures["40 candidates"]["difference of probability"]
    assert differences["ours, float32"] < 1e-5
    assert 1e-5 < differences["ours, bfloat16"] < 0.05
    if has_instructions() and has_byte_instructions():
        assert differences["ours, bfloat16"] < differences["ours, int8"] < 0.06


def test_bytes_are_in_the_contest_or_said_to_be_missing(report: Report) -> None:
    """A ratio that is the int8 kernel's must not be taken for that of a machine without it."""
    here = has_instructions() and has_byte_instructions()
    timings, figures = report.timings["40 candidates"], report.figures["40 candidates"]
    assert ("ours, int8: encode + score" in timings) == here
    assert ("block, int8" in timings) == here
    assert ("left out" in report.notes[0]) != here
    ratios = figures["faster jitted full attention / ours"]
    assert ratios[figures["fastest"]] == max(ratios.values())
    assert "ours, bfloat16: encode + score" in ratios


def test_every_contestant_is_timed_and_no_small_size_is_judged(report: Report) -> None:
    """A ratio of the quick size would be taken for the promised one."""
    assert list(report.timings["40 candidates"])[:4] == [
        "ours, float32: encode + score", "ours, float32: score",
        "ours, bfloat16: encode + score", "ours, bfloat16: score",
    ]  # fmt: skip
    assert report.lines == []


def test_a_peer_with_other_probabilities_is_refused() -> None:
    truth = np.full((2, 3), 0.5)
    with pytest.raises(AssertionError, match="ours, float32 differs from full masked attention"):
        check_probabilities({"full, float32": truth, "ours, float32": truth + 2e-5})
    assert check_probabilities({"full, float32": truth, "ours, bfloat16": truth + 0.01})
