"""Calls go to replicas that serve, and to another one when theirs goes away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from home_mixer.client import AsyncHomeMixerClient, FeedError, HomeMixerClient
from home_mixer.clients.grpc_channel import open_channel
from home_mixer.clients.grpc_target import target_of
from protos import home_mixer_pb2 as pb
from protos import home_mixer_pb2_grpc

SERVICE = str(pb.DESCRIPTOR.services_by_name["ScoredPostsService"].full_name)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SOON_S = 30.0


class Replica(home_mixer_pb2_grpc.ScoredPostsServiceServicer):
    """A home_mixer that answers with its own name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.holds: asyncio.Event | None = None  # calls wait for it
        self.refuses = False
        self.called = asyncio.Event()
        self.health = health.aio.HealthServicer()
        self.server = grpc.aio.server()
        home_mixer_pb2_grpc.add_ScoredPostsServiceServicer_to_server(self, self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)

    async def GetScoredPosts(self, request: Any, context: Any) -> pb.ScoredPostsResponse:  # noqa: N802
        self.calls += 1
        self.called.set()
        if self.refuses:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        if self.holds is not None:
            await self.holds.wait()
        return pb.ScoredPostsResponse(request_id=self.name)

    async def start(self, address: str = "127.0.0.1:0", *, serving: bool = True) -> str:
        port = self.server.add_insecure_port(address)
        await self.turn(serving)
        await self.server.start()
        return f"127.0.0.1:{port}"

    async def turn(self, serving: bool) -> None:
        for name in ("", SERVICE):
            await self.health.set(name, SERVING if serving else NOT_SERVING)

    async def die(self) -> None:
        """Connections break; calls under way get no answer."""
        await self.server.stop(None)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[tuple[Replica, str]]]]:
    replicas: list[Replica] = []

    async def started(
        name: str, address: str = "127.0.0.1:0", *, serving: bool = True
    ) -> tuple[Replica, str]:
        replicas.append(Replica(name))
        return replicas[-1], await replicas[-1].start(address, serving=serving)

    yield started
    for replica in replicas:
        await replica.server.stop(None)


@asynccontextmanager
async def asking(target: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Calls of home_mixer's own channel: the name of the replica that answered."""
    async with open_channel(target, SERVICE) as channel:
        stub = home_mixer_pb2_grpc.ScoredPostsServiceStub(channel)

        async def ask() -> str:
            answer = await stub.GetScoredPosts(pb.ScoredPostsQuery(viewer_id=1), timeout=SOON_S)
            return str(answer.request_id)

        yield ask


async def until_asked(ask: Callable[[], Awaitable[str]], wanted: set[str]) -> None:
    """Until six answers in a row come from exactly ``wanted``."""
    loop = asyncio.get_running_loop()
    end_s, last = loop.time() + SOON_S, set[str]()
    while loop.time() < end_s:
        last = {await ask() for _ in range(6)}
        if last == wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"expected answers of {wanted}, got those of {last}")


async def test_calls_are_shared_among_replicas(start: Any) -> None:
    (_, one), (_, two) = await start("one"), await start("two")
    async with asking(f"{one},{two}") as ask:
        await until_asked(ask, {"one", "two"})
        assert Counter([await ask() for _ in range(20)]) == {"one": 10, "two": 10}


async def test_a_replica_that_does_not_serve_gets_no_call(start: Any) -> None:
    """Such as one that drains, or one that is not caught up."""
    (_, one), (two, address) = await start("one"), await start("two", serving=False)
    async with asking(f"{one},{address}") as ask:
        assert {await ask() for _ in range(10)} == {"one"}
        assert two.calls == 0
        await two.turn(True)
        await until_asked(ask, {"one", "two"})
        await two.turn(False)
        await until_asked(ask, {"one"})
        before = two.calls
        assert {await ask() for _ in range(10)} == {"one"}
        assert two.calls == before


async def test_nobody_waits_where_no_replica_serves(start: Any) -> None:
    """The caller has a fallback; it must not spend its time on hope."""
    (_, one), (_, two) = await start("one", serving=False), await start("two", serving=False)
    async with asking(f"{one},{two}") as ask:
        async with asyncio.timeout(SOON_S / 2):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await ask()
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_whose_replica_dies_is_answered_by_another(start: Any) -> None:
    replicas = dict([await start("one"), await start("two")])
    async with asking(",".join(replicas.values())) as ask:
        await until_asked(ask, {"one", "two"})
        for replica in replicas:
            replica.holds = asyncio.Event()
            replica.called.clear()
        call = asyncio.ensure_future(ask())
        waits = {asyncio.ensure_future(replica.called.wait()): replica for replica in replicas}
        done, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        left.pop().cancel()
        dying = waits[done.pop()]
        (living,) = replicas.keys() - {dying}
        living.holds = None
        await dying.die()
        assert await call == living.name


async def test_a_refused_call_is_repeated_twice_and_no_more(start: Any) -> None:
    """An outage is not made larger by those who suffer from it."""
    replica, address = await start("one")
    replica.refuses = True
    async with asking(address) as ask:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await ask()
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert replica.calls == 3


async def test_repeated_calls_share_their_callers_deadline(start: Any) -> None:
    replicas = dict([await start("one"), await start("two")])
    for replica in replicas:
        replica.holds = asyncio.Event()
    async with AsyncHomeMixerClient(",".join(replicas.values()), timeout_s=0.5) as client:
        async with asyncio.timeout(SOON_S):
            with pytest.raises(FeedError, match="DEADLINE_EXCEEDED"):
                await client.get_scored_posts(1)
    assert sum(replica.calls for replica in replicas) == 1


async def test_a_replica_that_comes_back_takes_calls_again(start: Any) -> None:
    (_, one), (two, address) = await start("one"), await start("two")
    async with asking(f"{one},{address}") as ask:
        await until_asked(ask, {"one", "two"})
        await two.die()
        await until_asked(ask, {"one"})
        await start("again", address)
        await until_asked(ask, {"one", "again"})


@pytest.mark.parametrize("form", ["{host}:{port}", "dns:///localhost:{port}", "ipv4:{host}:{port}"])
async def test_every_form_of_a_target_is_reached(start: Any, form: str) -> None:
    _, address = await start("one")
    host, port = address.split(":")
    async with asking(form.format(host=host, port=port)) as ask:
        assert await ask() == "one"


async def test_a_unix_socket_is_a_target(start: Any, tmp_path: Path) -> None:
    await start("one", f"unix:{tmp_path / 'socket'}")
    async with asking(f"unix:{tmp_path / 'socket'}") as ask:
        assert await ask() == "one"


def test_lists_of_addresses_become_grpc_targets() -> None:
    assert target_of("thunder:50052") == "thunder:50052"
    assert target_of("10.0.0.1:1, 10.0.0.2:2") == "ipv4:10.0.0.1:1,10.0.0.2:2"
    assert target_of("localhost:1,127.0.0.1:2") == "ipv4:127.0.0.1:1,127.0.0.1:2"
    assert target_of("[::1]:1,[::2]:2") == "ipv6:[::1]:1,[::2]:2"
    assert target_of("ipv4:10.0.0.1:1,10.0.0.2:2") == "ipv4:10.0.0.1:1,10.0.0.2:2"
    with pytest.raises(ValueError, match="dns:///name:port"):
        target_of("thunder-0:50052,thunder-1:50052")
    with pytest.raises(ValueError, match="mixes IPv4 and IPv6"):
        target_of("10.0.0.1:1,[::1]:2")


async def test_the_client_of_viewers_takes_several_home_mixers(start: Any) -> None:
    """Blocking and asyncio alike; when all are away the error says so."""
    (first, one), (second, two) = await start("one"), await start("two")
    async with AsyncHomeMixerClient(f"{one},{two}", timeout_s=SOON_S) as client:

        async def ask() -> str:
            return (await client.get_scored_posts(1)).request_id

        await until_asked(ask, {"one", "two"})
        await first.die()
        assert {await ask() for _ in range(6)} == {"two"}

        def blocking() -> str:
            with HomeMixerClient(f"{one},{two}", timeout_s=SOON_S) as same:
                return same.get_scored_posts(1).request_id

        assert await asyncio.to_thread(blocking) == "two"
        await second.die()
        with pytest.raises(FeedError, match="UNAVAILABLE"):
            await ask()


def test_the_client_needs_grpc_and_protobuf_alone() -> None:
    """A back-end that asks for feeds installs nothing of what makes them."""
    code = "import sys, home_mixer.client; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(run.stdout.split())
    assert {"grpc", "google"} <= imported
    assert not imported & {"pydantic", "prometheus_client", "service_kit", "lmdb", "redis", "jax"}
