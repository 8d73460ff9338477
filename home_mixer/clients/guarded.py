"""Clients behind their circuit breakers: the same protocols, so that no component knows.

Each store has a breaker for its reads. Writes have one of their own: a full disk, or a Redis that
refuses writes, must not take away what can still be read.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

import grpc.aio

from home_mixer.clients.circuit_breaker import Breaker, Breakers
from home_mixer.clients.grpc_channel import Method, Request, Response
from home_mixer.clients.protocols import (
    ActionRows,
    ActionSequenceStore,
    FeatureClients,
    Ids,
    Mask,
    PostBatch,
    PostStore,
    ProfileBatch,
    ProfileStore,
    RequestCache,
    RequestInfo,
    ServedHistoryStore,
    SocialGraphStore,
    UserFeatures,
    VisibilityBatch,
    VisibilityLabelStore,
)


def guarded_method(
    method: Method[Request, Response], breaker: Breaker
) -> Method[Request, Response]:
    """The stub's method; raises CircuitOpen while its circuit is open."""

    def ask(
        request: Request,
        *,
        timeout: float | None = None,
        metadata: grpc.aio.Metadata | None = None,
    ) -> Awaitable[Response]:
        return breaker.run(lambda: method(request, timeout=timeout, metadata=metadata))

    return ask


def guarded_clients(
    clients: FeatureClients, breakers: Breakers, budget_ms: float
) -> FeatureClients:
    """Every store behind a breaker; ``budget_ms`` is what one answer may take."""
    writes = breakers.to("served_writes", budget_ms)
    return FeatureClients(
        posts=GuardedPosts(clients.posts, breakers.to("posts", budget_ms)),
        visibility=GuardedVisibility(clients.visibility, breakers.to("visibility", budget_ms)),
        profiles=GuardedProfiles(clients.profiles, breakers.to("profiles", budget_ms)),
        graph=GuardedGraph(clients.graph, breakers.to("graph", budget_ms)),
        actions=GuardedActions(clients.actions, breakers.to("actions", budget_ms)),
        served=GuardedServed(clients.served, breakers.to("served", budget_ms), writes),
        requests=GuardedRequests(clients.requests, breakers.to("requests", budget_ms), writes),
    )


@dataclass(frozen=True, slots=True)
class GuardedPosts:
    store: PostStore
    breaker: Breaker

    async def get_posts(self, post_ids: Ids) -> PostBatch:
        return await self.breaker.run(lambda: self.store.get_posts(post_ids))


@dataclass(frozen=True, slots=True)
class GuardedVisibility:
    store: VisibilityLabelStore
    breaker: Breaker

    async def get_visibility(self, post_ids: Ids) -> VisibilityBatch:
        return await self.breaker.run(lambda: self.store.get_visibility(post_ids))


@dataclass(frozen=True, slots=True)
class GuardedProfiles:
    store: ProfileStore
    breaker: Breaker

    async def get_profiles(self, user_ids: Ids) -> ProfileBatch:
        return await self.breaker.run(lambda: self.store.get_profiles(user_ids))


@dataclass(frozen=True, slots=True)
class GuardedGraph:
    store: SocialGraphStore
    breaker: Breaker

    async def get_features(self, user_id: int) -> UserFeatures:
        return await self.breaker.run(lambda: self.store.get_features(user_id))

    async def blocks_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        return await self.breaker.run(lambda: self.store.blocks_viewer(user_id, author_ids))

    async def follows_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        return await self.breaker.run(lambda: self.store.follows_viewer(user_id, author_ids))


@dataclass(frozen=True, slots=True)
class GuardedActions:
    store: ActionSequenceStore
    breaker: Breaker

    async def newest_actions(self, user_id: int, limit: int) -> ActionRows:
        return await self.breaker.run(lambda: self.store.newest_actions(user_id, limit))


@dataclass(frozen=True, slots=True)
class GuardedServed:
    store: ServedHistoryStore
    breaker: Breaker
    writes: Breaker

    async def served_since(self, viewer_id: int, since_ms: int, limit: int) -> Ids:
        return await self.breaker.run(lambda: self.store.served_since(viewer_id, since_ms, limit))

    async def add_served(self, viewer_id: int, post_ids: Ids, served_at_ms: int) -> None:
        await self.writes.run(lambda: self.store.add_served(viewer_id, post_ids, served_at_ms))


@dataclass(frozen=True, slots=True)
class GuardedRequests:
    store: RequestCache
    breaker: Breaker
    writes: Breaker

    async def put_request(self, viewer_id: int, info: RequestInfo) -> None:
        await self.writes.run(lambda: self.store.put_request(viewer_id, info))

    async def get_request(self, viewer_id: int) -> RequestInfo | None:
        return await self.breaker.run(lambda: self.store.get_request(viewer_id))
