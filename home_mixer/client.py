"""A Python client of home_mixer: `get_scored_posts(viewer_id, …)`, blocking and asyncio.

It needs grpcio and protobuf alone.

    with HomeMixerClient("127.0.0.1:50051") as client:
        feed = client.get_scored_posts(42)
        for post in feed.posts:
            print(post.post_id, post.score)

``address`` may name several replicas: "10.0.0.1:50051,10.0.0.2:50051", or a gRPC target such as
``dns:///home-mixer:50051``. Each call goes to the next one that serves; when its replica dies,
another gets it, within the same ``timeout_s``. Asking twice is safe: a feed is computed anew each
time, and what a request leaves behind (served posts, the served event) is under its own id. At
worst the answer was on its way when its replica died: its posts then count as served, as they
would had the caller died, and the repeated request brings the next best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import grpc
import grpc.aio

from home_mixer.clients.grpc_target import channel_options, target_of
from protos import home_mixer_pb2 as pb
from protos import home_mixer_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 2.0  # twice the service's own budget
MESSAGE_BYTES_MAX = 128 << 20

_SERVICE = str(pb.DESCRIPTOR.services_by_name["ScoredPostsService"].full_name)
_OPTIONS = channel_options(_SERVICE, message_bytes_max=MESSAGE_BYTES_MAX)


class FeedError(RuntimeError):
    """The call failed. ``code``: the gRPC status' name, such as INVALID_ARGUMENT."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class Bloom(Protocol):
    """An impression Bloom filter, as home_mixer.bloom.BloomFilter."""

    @property
    def bits(self) -> bytes: ...
    @property
    def num_bits(self) -> int: ...
    @property
    def num_hashes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Post:
    """One post of a feed; ids that do not apply are 0."""

    post_id: int
    author_id: int
    score: float
    in_network: bool
    reposted_post_id: int
    reposted_user_id: int
    in_reply_to_post_id: int
    served_type: str
    last_scored_timestamp_ms: int
    prediction_request_id: int
    ancestors: tuple[int, ...]
    screen_names: Mapping[int, str]
    visibility_reason: str | None


@dataclass(frozen=True, slots=True)
class Feed:
    """An answer. ``degraded_reasons`` is empty when everything worked."""

    posts: tuple[Post, ...]
    request_id: str
    params_hash: str
    model_version: str
    degraded_reasons: tuple[str, ...]


def scored_posts_query(
    viewer_id: int,
    *,
    seen_ids: Iterable[int] = (),
    served_ids: Iterable[int] = (),
    in_network_only: bool = False,
    is_bottom_request: bool = False,
    bloom_filters: Iterable[Bloom] = (),
    client_app_id: int = 0,
    country_code: str = "",
    language_code: str = "",
) -> pb.ScoredPostsQuery:
    """The request message. ValueError for numbers that do not fit its fields."""
    return pb.ScoredPostsQuery(
        viewer_id=viewer_id,
        client_app_id=client_app_id,
        country_code=country_code,
        language_code=language_code,
        seen_ids=seen_ids,
        served_ids=served_ids,
        in_network_only=in_network_only,
        is_bottom_request=is_bottom_request,
        bloom_filter_entries=[
            pb.BloomFilterEntry(bits=b.bits, num_bits=b.num_bits, num_hashes=b.num_hashes)
            for b in bloom_filters
        ],
    )


class HomeMixerClient:
    """Blocking; may be shared by threads. Close it, or use it in a ``with``.

    ValueError for a list of addresses that gRPC cannot take, with how to write it.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._channel = grpc.insecure_channel(target_of(address), options=_OPTIONS)
        self._stub = home_mixer_pb2_grpc.ScoredPostsServiceStub(self._channel)
        self._timeout_s = timeout_s

    def get_scored_posts(
        self,
        viewer_id: int,
        *,
        seen_ids: Iterable[int] = (),
        served_ids: Iterable[int] = (),
        in_network_only: bool = False,
        is_bottom_request: bool = False,
        timeout_s: float | None = None,
    ) -> Feed:
        """One feed. Raises FeedError."""
        query = scored_posts_query(
            viewer_id,
            seen_ids=seen_ids,
            served_ids=served_ids,
            in_network_only=in_network_only,
            is_bottom_request=is_bottom_request,
        )
        return self.send(query, timeout_s=timeout_s)

    def send(self, query: pb.ScoredPostsQuery, *, timeout_s: float | None = None) -> Feed:
        """The feed for a whole request message. Raises FeedError."""
        try:
            return feed_of(self._stub.GetScoredPosts(query, timeout=self._wait_s(timeout_s)))
        except grpc.RpcError as error:
            raise _feed_error(error) from error

    def explain(
        self, query: pb.ScoredPostsQuery, *, timeout_s: float | None = None
    ) -> pb.ExplainResponse:
        """The feed with its ledger, as the message. Raises FeedError."""
        try:
            return self._stub.ExplainScoredPosts(query, timeout=self._wait_s(timeout_s))
        except grpc.RpcError as error:
            raise _feed_error(error) from error

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_s(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


class AsyncHomeMixerClient:
    """The same for asyncio. Close it, or use it in an ``async with``."""

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._channel = grpc.aio.insecure_channel(target_of(address), options=_OPTIONS)
        self._stub: home_mixer_pb2_grpc.ScoredPostsServiceAsyncStub = (
            home_mixer_pb2_grpc.ScoredPostsServiceStub(self._channel)
        )
        self._timeout_s = timeout_s

    async def get_scored_posts(
        self,
        viewer_id: int,
        *,
        seen_ids: Iterable[int] = (),
        served_ids: Iterable[int] = (),
        in_network_only: bool = False,
        is_bottom_request: bool = False,
        timeout_s: float | None = None,
    ) -> Feed:
        """One feed. Raises FeedError."""
        query = scored_posts_query(
            viewer_id,
            seen_ids=seen_ids,
            served_ids=served_ids,
            in_network_only=in_network_only,
            is_bottom_request=is_bottom_request,
        )
        return await self.send(query, timeout_s=timeout_s)

    async def send(
        self,
        query: pb.ScoredPostsQuery,
        *,
        timeout_s: float | None = None,
    ) -> Feed:
        """The feed for a whole request message. Raises FeedError."""
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            return feed_of(await self._stub.GetScoredPosts(query, timeout=wait_s))
        except grpc.aio.AioRpcError as error:
            raise _feed_error(error) from error

    async def explain(
        self,
        query: pb.ScoredPostsQuery,
        *,
        timeout_s: float | None = None,
    ) -> pb.ExplainResponse:
        """The feed with its ledger, as the message. Raises FeedError."""
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            return await self._stub.ExplainScoredPosts(query, timeout=wait_s)
        except grpc.aio.AioRpcError as error:
            raise _feed_error(error) from error

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def feed_of(response: pb.ScoredPostsResponse) -> Feed:
    """The message as plain values."""
    return Feed(
        posts=tuple(_post(post) for post in response.scored_posts),
        request_id=response.request_id,
        params_hash=response.params_hash,
        model_version=response.model_version,
        degraded_reasons=tuple(response.degraded_reasons),
    )


def _post(post: pb.ScoredPost) -> Post:
    return Post(
        post_id=post.post_id,
        author_id=post.author_id,
        score=post.score,
        in_network=post.in_network,
        reposted_post_id=post.reposted_post_id,
        reposted_user_id=post.reposted_user_id,
        in_reply_to_post_id=post.in_reply_to_post_id,
        served_type=pb.ServedType.Name(post.served_type).removeprefix("SERVED_TYPE_").lower(),
        last_scored_timestamp_ms=post.last_scored_timestamp_ms,
        prediction_request_id=post.prediction_request_id,
        ancestors=tuple(post.ancestors),
        screen_names=dict(post.screen_names),
        visibility_reason=post.visibility_reason if post.HasField("visibility_reason") else None,
    )


def _feed_error(error: grpc.RpcError) -> FeedError:
    """gRPC's own errors know code and details, which their base class does not say."""
    code = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
    details = getattr(error, "details", lambda: str(error))()
    return FeedError(code.name, details or "")
