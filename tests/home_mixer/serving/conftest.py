"""A home_mixer over real gRPC, beside small thunder and phoenix servers with the real messages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from home_mixer.client import AsyncHomeMixerClient
from home_mixer.clients.embedded import EmbeddedFeatureWriter
from home_mixer.clients.writes import EdgeChange, FeatureBatch, PostContent, Profile
from home_mixer.server import HomeMixerProcess
from home_mixer.settings import HomeMixerSettings
from protos import phoenix_pb2, phoenix_pb2_grpc, thunder_pb2, thunder_pb2_grpc
from service_kit.clock import SystemClock
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.snowflake import first_id_at

VIEWER = 1
FOLLOWED = 100
STRANGER = 200
MAP_BYTES = 64 << 20
# Far beyond what anything takes: a busy machine must not turn an answer into a time-out.
PATIENT = {
    "request_budget_ms": 20_000,
    "thunder_budget_ms": 10_000,
    "retrieval_budget_ms": 10_000,
    "ranker_budget_ms": 10_000,
    "store_budget_ms": 10_000,
}


@dataclass
class Trouble:
    """What a fake service does wrong: an error, or no answer until the event is set."""

    code: grpc.StatusCode | None = None
    until: asyncio.Event | None = None

    async def happen(self, context: Any) -> None:
        if self.until is not None:
            await self.until.wait()
        if self.code is not None:
            await context.abort(self.code, "as the test wants it")


@dataclass
class FakeThunder(thunder_pb2_grpc.InNetworkPostsServiceServicer):
    posts: list[thunder_pb2.LightPost] = field(default_factory=list)
    partial: bool = False
    trouble: Trouble = field(default_factory=Trouble)
    requests: list[thunder_pb2.GetInNetworkPostsRequest] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def GetInNetworkPosts(  # noqa: N802 - gRPC's name
        self, request: thunder_pb2.GetInNetworkPostsRequest, context: Any
    ) -> thunder_pb2.GetInNetworkPostsResponse:
        self.requests.append(request)
        self.arrived.set()
        await self.trouble.happen(context)
        followed = set(request.following_user_ids)
        posts = [post for post in self.posts if post.author_id in followed]
        return thunder_pb2.GetInNetworkPostsResponse(posts=posts, partial=self.partial)

    def add_to(self, server: grpc.aio.Server) -> None:
        thunder_pb2_grpc.add_InNetworkPostsServiceServicer_to_server(self, server)


@dataclass
class FakePhoenix(
    phoenix_pb2_grpc.PredictionServiceServicer, phoenix_pb2_grpc.RetrievalServiceServicer
):
    """A post's probability of a like is ``likes``[its id], or 0.1."""

    posts: list[phoenix_pb2.RetrievedPost] = field(default_factory=list)
    likes: dict[int, float] = field(default_factory=dict)
    trouble: Trouble = field(default_factory=Trouble)
    predictions: list[phoenix_pb2.PredictNextActionsRequest] = field(default_factory=list)
    retrievals: list[phoenix_pb2.RetrieveRequest] = field(default_factory=list)

    async def PredictNextActions(  # noqa: N802 - gRPC's name
        self, request: phoenix_pb2.PredictNextActionsRequest, context: Any
    ) -> phoenix_pb2.PredictNextActionsResponse:
        self.predictions.append(request)
        await self.trouble.happen(context)
        likes = [self.likes.get(candidate.post_id, 0.1) for candidate in request.candidates]
        return phoenix_pb2.PredictNextActionsResponse(
            actions=[1],
            log_probs=np.log(likes).tolist(),
            dwell_seconds=[5.0] * len(likes),
            model_version="m-1",
            prediction_request_id=len(self.predictions),
        )

    async def Retrieve(  # noqa: N802 - gRPC's name
        self, request: phoenix_pb2.RetrieveRequest, context: Any
    ) -> phoenix_pb2.RetrieveResponse:
        self.retrievals.append(request)
        await self.trouble.happen(context)
        return phoenix_pb2.RetrieveResponse(posts=self.posts, model_version="r-1")

    def add_to(self, server: grpc.aio.Server) -> None:
        phoenix_pb2_grpc.add_PredictionServiceServicer_to_server(self, server)
        phoenix_pb2_grpc.add_RetrievalServiceServicer_to_server(self, server)


@dataclass
class Neighbour:
    """A fake service that can go and come back on its port."""

    servicer: Any
    port: int = 0
    server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.servicer.add_to(self.server)
        self.port = self.server.add_insecure_port(self.address)
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(None)
            self.server = None


@dataclass
class HomeMixer:
    """A running home_mixer with its neighbours and a client."""

    process: HomeMixerProcess
    address: str
    client: AsyncHomeMixerClient
    thunder: Neighbour
    phoenix: Neighbour
    metrics: Metrics
    directory: Path


StartHomeMixer = Callable[..., Awaitable[HomeMixer]]


@pytest.fixture
def recent() -> Callable[[float], int]:
    """Id of a post that is so many minutes old, by the real clock."""
    now_ms = SystemClock().now_ms()
    return lambda minutes: first_id_at(now_ms - int(minutes * 60_000)) + 1


@pytest.fixture
def world(recent: Callable[[float], int]) -> tuple[FakeThunder, FakePhoenix, FeatureBatch]:
    """Five posts by a followed account, five by a stranger; older ones are liked more."""
    thunder, phoenix, batch = FakeThunder(), FakePhoenix(), FeatureBatch()
    for minutes in range(1, 6):
        for author_id in (FOLLOWED, STRANGER):
            post_id = recent(minutes) + author_id
            created_at_ms = SystemClock().now_ms() - minutes * 60_000
            content = PostContent(author_id, created_at_ms, text=f"post of {author_id}")
            batch.contents.append((post_id, content))
            phoenix.likes[post_id] = minutes / 10
            if author_id == FOLLOWED:
                light = thunder_pb2.LightPost(
                    post_id=post_id, author_id=author_id, created_at_ms=created_at_ms
                )
                thunder.posts.append(light)
            else:
                phoenix.posts.append(
                    phoenix_pb2.RetrievedPost(post_id=post_id, author_id=author_id)
                )
    batch.edges.append((1, VIEWER, FOLLOWED, EdgeChange(1, False)))
    batch.profiles += [(FOLLOWED, Profile(1, "friend", True, 10))]
    return thunder, phoenix, batch


@pytest.fixture
async def start_home_mixer(
    tmp_path: Path, world: tuple[FakeThunder, FakePhoenix, FeatureBatch]
) -> AsyncIterator[StartHomeMixer]:
    """Starts one over the world (or over ``batch``); settings by name."""
    closers: list[Callable[[], Awaitable[object]]] = []

    async def start(batch: FeatureBatch | None = None, **given: Any) -> HomeMixer:
        thunder, phoenix = Neighbour(world[0]), Neighbour(world[1])
        await thunder.start()
        await phoenix.start()
        settings = HomeMixerSettings(
            data_dir=tmp_path,
            feature_map_bytes=MAP_BYTES,
            thunder_address=thunder.address,
            phoenix_address=phoenix.address,
            **{**PATIENT, **given},
        )
        writer = EmbeddedFeatureWriter.open(settings.features_dir, map_bytes=MAP_BYTES)
        writer.apply(world[2] if batch is None else batch, {})
        writer.close()
        metrics = Metrics("home_mixer")
        process = HomeMixerProcess(settings, metrics, Readiness(), SystemClock(), random.Random(7))
        server = grpc.aio.server()
        process.register(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await process.start()
        client = AsyncHomeMixerClient(f"127.0.0.1:{port}", timeout_s=30.0)
        closers.extend(
            [
                thunder.stop,
                phoenix.stop,
                process.stop,
                lambda: server.stop(None),
                client.close,
            ]
        )
        address = f"127.0.0.1:{port}"
        return HomeMixer(process, address, client, thunder, phoenix, metrics, tmp_path)

    yield start
    for close in reversed(closers):
        await close()
