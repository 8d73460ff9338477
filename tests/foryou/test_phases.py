"""Phases tell where the time went; a program reads them from the demo's JSON."""

from __future__ import annotations

import io

from foryou.phases import Phases


def test_a_phase_is_listed_with_its_own_seconds():
    times = iter([100.0, 101.0, 101.0, 104.5, 104.5, 105.0])
    stream = io.StringIO()
    phases = Phases(stream, lambda: next(times))
    with phases.phase("world", "making a world"):
        pass
    assert [(phase.name, phase.seconds) for phase in phases.done] == [("world", 3.5)]
    assert "making a world" in stream.getvalue()
