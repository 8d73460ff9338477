"""The process serves only while all of its services do, and never again once it drains."""

from __future__ import annotations

from service_kit.readiness import Readiness


def test_the_process_serves_while_all_its_services_do() -> None:
    readiness = Readiness()
    assert not readiness.serving(), "nothing started yet"
    readiness.set("a", True)
    readiness.set("b", False, "loading")
    assert readiness.serving("a")
    assert not readiness.serving()
    assert readiness.state().reason == "b: loading"
    readiness.set("b", True)
    assert readiness.serving()
    assert not readiness.serving("unknown")


def test_draining_wins_over_everything_set_later() -> None:
    readiness = Readiness()
    readiness.set("a", True)
    readiness.drain("draining")
    readiness.set("a", True)
    assert not readiness.serving("a")
    assert readiness.state().reason == "draining"


def test_listeners_hear_the_present_and_each_change_once() -> None:
    readiness = Readiness()
    readiness.set("a", False, "loading")
    heard: list[tuple[str, bool]] = []
    readiness.listen(lambda name, serving: heard.append((name, serving)))
    readiness.set("a", True)
    readiness.set("a", True)
    assert sorted(heard[:2]) == [("", False), ("a", False)]
    assert sorted(heard[2:]) == [("", True), ("a", True)]
