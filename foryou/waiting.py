"""Waiting for servers: `grpc.health.v1`, with a bound and a reason."""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from foryou.children import Child
from foryou.errors import CommandError

POLL_SECONDS = 0.1
CALL_SECONDS = 2.0


async def until_serving(
    child: Child | None, address: str, timeout_s: float, service: str = ""
) -> None:
    """Returns once `service` ("" for the whole process) is SERVING at `address`.

    Raises CommandError when that takes too long or when the child, if it is one, ends; then with
    the end of its log.
    """
    end_s = time.monotonic() + timeout_s
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while not await _serving(stub, service):
            if child is not None and child.exit_code is not None:
                raise child.failed(f"ended with exit code {child.exit_code}")
            if time.monotonic() > end_s:
                late = f"was not ready within {timeout_s:.0f} s"
                raise child.failed(late) if child else CommandError(f"{service or address} {late}")
            await asyncio.sleep(POLL_SECONDS)


async def _serving(stub: health_pb2_grpc.HealthStub, service: str) -> bool:
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        response = await stub.Check(request, timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        ):
            return False
        raise CommandError(f"the health check failed: {error.details()}") from error
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
