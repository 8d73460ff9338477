"""gRPC channels to thunder and phoenix: over every replica, quick to come back, errors in one word.

A call to a service of which no replica serves fails at once instead of waiting for it. Every
method called here only reads, so UNAVAILABLE is retried within the call's own deadline.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeVar

import grpc
import grpc.aio

from candidate_pipeline.errors import Degraded
from home_mixer.clients.grpc_target import channel_options, target_of
from service_kit.settings import MESSAGE_BYTES_MAX
from service_kit.tracing import outgoing_metadata

REQUEST_ID_KEY = "x-request-id"

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)


class Method(Protocol[Request, Response]):
    """A unary method of a generated asynchronous stub."""

    def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: grpc.aio.Metadata | None = None,
    ) -> Awaitable[Response]: ...


def open_channel(target: str, service: str = "") -> grpc.aio.Channel:
    """A channel to all replicas of ``target``; connects when first used, and whenever lost.

    ``target``: "host:port", "10.0.0.1:1,10.0.0.2:1" or a gRPC target (``dns:///name:port``,
    ``ipv4:…``, ``unix:…``). ``service``: the full name that calls go to; a replica where it is
    NOT_SERVING gets none. Raises ValueError for a list of addresses that gRPC cannot take.
    """
    options = channel_options(service, message_bytes_max=MESSAGE_BYTES_MAX)
    return grpc.aio.insecure_channel(target_of(target), options=options)


async def call(
    method: Method[Request, Response], request: Request, timeout_s: float, request_id: str
) -> Response:
    """The method's answer. Raises `Degraded` with the status as its reason, in one word."""
    metadata = grpc.aio.Metadata((REQUEST_ID_KEY, request_id), *outgoing_metadata())
    try:
        return await method(request, timeout=timeout_s, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise Degraded(reason_of(error.code())) from error


def reason_of(code: grpc.StatusCode) -> str:
    """DEADLINE_EXCEEDED is "timeout"; the others are their names in lower case."""
    return "timeout" if code is grpc.StatusCode.DEADLINE_EXCEEDED else code.name.lower()
