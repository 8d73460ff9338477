"""gRPC channels to thunder and phoenix: quick to come back, and errors in one word.

Reconnects wait a second at most, so that feeds recover by themselves soon after a service
returns; a call to a service that is away fails at once instead of waiting for it. Every method
called here only reads, so UNAVAILABLE is retried within the call's own deadline.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Protocol, TypeVar

import grpc
import grpc.aio

from candidate_pipeline.errors import Degraded
from service_kit.settings import MESSAGE_BYTES_MAX
from service_kit.tracing import outgoing_metadata

RECONNECT_MS_MIN, RECONNECT_MS_MAX = 100, 1_000
KEEPALIVE_MS = 30_000  # notices a peer that vanished without a word
KEEPALIVE_TIMEOUT_MS = 5_000
REQUEST_ID_KEY = "x-request-id"

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 2,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.05s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

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


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to ``address`` (host:port); connects when first used, and again whenever lost."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_MIN),
            ("grpc.min_reconnect_backoff_ms", RECONNECT_MS_MIN),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            ("grpc.enable_retries", 1),
        ],
    )


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
