"""The restart that is timed is one that answers as before, or there is no figure."""

from __future__ import annotations

import argparse

import pytest

from benchmarks import restart
from benchmarks.restart.process import Replica

QUICK = argparse.Namespace(quick=True, posts=3_000, tail=500, repeats=2, servers="", no_kafka=True)
pytestmark = pytest.mark.e2e


def test_the_quick_size_restarts_the_real_process_from_snapshot_and_tail() -> None:
    report = restart.measure(QUICK)
    assert report.timings["exec to SERVING"].keys() == {"warm file", "cold file"}
    assert report.workload["log"] == "embedded"
    assert report.figures["snapshot GB"] >= 0


def test_a_replica_that_answers_otherwise_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its tail, say: a start that left it out would be the faster one."""
    honest = Replica.check
    monkeypatch.setattr(
        Replica, "check", lambda self, answers: honest(self, {a: [] for a in answers})
    )
    with pytest.raises(ValueError, match=r"posts of author \d+ that are not the 0 of the store"):
        restart.measure(QUICK)
