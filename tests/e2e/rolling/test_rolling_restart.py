"""Services are restarted, and killed, one replica after the other: no viewer notices."""

from __future__ import annotations

import time
from typing import Any

import pytest

from service_kit.settings import ServiceSettings

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

SETTLED_S_MAX = 120.0  # the first feeds of a busy machine are late

ORDER = (
    *("thunder-0", "thunder-1", "phoenix-0", "phoenix-1"),
    *("home-mixer-0", "home-mixer-1", "ingester"),
)


def is_settled(load: Any) -> bool:
    return load.answered >= 20 and all(answer.is_whole for answer in load.answers[-20:])


async def test_rolling_restart_of_every_service_loses_no_request(
    pairs: Any, read_served: Any
) -> None:
    """Every request is answered whole while each process in turn is ended and started again, and
    what was answered before a SIGTERM stands in the served topic."""
    async with pairs.load() as load:
        await load.until(lambda: is_settled(load), "feeds are whole", SETTLED_S_MAX)
        first, started_s, before_exit = load.answered, time.monotonic(), 0
        for name in ORDER:
            at = load.answered
            await pairs.restart(name, load)
            pairs.judge(f"restart of {name}", load.answers[at:])
            before_exit = at if name.startswith("home-mixer") else before_exit
        seconds = time.monotonic() - started_s
    pairs.judge(f"{len(ORDER)} restarts in {seconds:.0f} s", load.answers[first:])
    # By then each home_mixer has ended once; the first one's second life writes a moment later.
    answered = {a.feed.request_id for a in load.answers[:before_exit] if a.feed.posts}
    lost = answered - await read_served(ServiceSettings(data_dir=pairs.processes.data_dir))
    assert answered
    assert not lost, f"{len(lost)} of {len(answered)} served feeds are not on record"


async def test_a_replica_killed_outright_costs_no_request(pairs: Any) -> None:
    """SIGKILL under load: calls under way are repeated on the other replica."""
    async with pairs.load() as load:
        await load.until(lambda: is_settled(load), "feeds are whole", SETTLED_S_MAX)
        for name in ("thunder-0", "phoenix-0", "home-mixer-0"):
            at = load.answered
            await pairs.processes.kill(name)
            await pairs.some_answers(load)
            pairs.judge(f"{name} killed", load.answers[at:])
            await pairs.back(name, load)
