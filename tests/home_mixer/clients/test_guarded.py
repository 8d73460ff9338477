"""Every client goes through a breaker, and only its own."""

from __future__ import annotations

from typing import Any, cast

import grpc
import grpc.aio
import numpy as np
import pytest

from home_mixer.clients.circuit_breaker import BreakerLimits, Breakers, CircuitOpen
from home_mixer.clients.guarded import guarded_clients, guarded_method
from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.protocols import FeatureClients, RequestInfo, StoreError
from service_kit.clock import ManualClock
from service_kit.metrics import Metrics

LIMITS = BreakerLimits(
    window_seconds=5,
    failure_share=0.5,
    calls_min=1,
    failures_in_a_row=1,
    open_seconds=1,
    probes=1,
)
IDS = np.array([1, 2], np.uint64)
INFO = RequestInfo(request_id="r", served_at_ms=1, params_hash="h", post_ids=IDS)
CALLS: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "posts": ("posts", "get_posts", (IDS,)),
    "visibility": ("visibility", "get_visibility", (IDS,)),
    "profiles": ("profiles", "get_profiles", (IDS,)),
    "features": ("graph", "get_features", (1,)),
    "blocks": ("graph", "blocks_viewer", (1, IDS)),
    "follows": ("graph", "follows_viewer", (1, IDS)),
    "actions": ("actions", "newest_actions", (1, 10)),
    "served": ("served", "served_since", (1, 0, 10)),
    "request": ("requests", "get_request", (1,)),
    "add served": ("served", "add_served", (1, IDS, 5)),
    "put request": ("requests", "put_request", (1, INFO)),
}
WRITES = {"add served", "put request"}


class Fails:
    """Every method of every store raises."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*arguments: object) -> None:
            raise StoreError("gone")

        return fail


def breakers() -> Breakers:
    return Breakers(LIMITS, ManualClock(), Metrics("home_mixer"))


async def called(clients: FeatureClients, call: str) -> Any:
    store, method, arguments = CALLS[call]
    return await getattr(getattr(clients, store), method)(*arguments)


@pytest.mark.parametrize("call", CALLS)
async def test_answers_pass_unchanged(call: str) -> None:
    plain, behind = MemoryFeatureStore().clients(), MemoryFeatureStore().clients()
    guarded = guarded_clients(behind, breakers(), 400)
    wanted, came = await called(plain, call), await called(guarded, call)
    assert repr(came) == repr(wanted)


@pytest.mark.parametrize("call", CALLS)
async def test_a_store_that_fails_is_not_asked_again_at_once(call: str) -> None:
    fails: Any = Fails()
    broken = FeatureClients(fails, fails, fails, fails, fails, fails, fails)
    guarded = guarded_clients(broken, breakers(), 400)
    with pytest.raises(StoreError):
        await called(guarded, call)
    with pytest.raises(CircuitOpen):
        await called(guarded, call)


async def test_what_cannot_be_written_can_still_be_read() -> None:
    """A full disk, or a Redis that refuses writes, costs the history and not the feed."""
    fails: Any = Fails()
    broken = FeatureClients(fails, fails, fails, fails, fails, fails, fails)
    guarded = guarded_clients(broken, breakers(), 400)
    for call in WRITES:
        with pytest.raises((StoreError, CircuitOpen)):
            await called(guarded, call)
    for call in CALLS.keys() - WRITES - {"blocks", "follows"}:
        with pytest.raises(StoreError):  # asked, not refused
            await called(guarded, call)


async def test_a_grpc_method_keeps_its_timeout_and_metadata() -> None:
    heard: list[tuple[object, object, object]] = []

    async def method(request: str, **options: object) -> str:
        heard.append((request, options["timeout"], options["metadata"]))
        return "answer"

    metadata = grpc.aio.Metadata(("a", "b"))
    guarded: Any = guarded_method(cast(Any, method), breakers().to("ranker", 800))
    assert await guarded("request", timeout=0.5, metadata=metadata) == "answer"
    assert heard == [("request", 0.5, metadata)]
