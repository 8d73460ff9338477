"""What every RPC of the service shares: deadline, span, log id, status codes, counters."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import grpc
import grpc.aio

from phoenix.serving.batcher import DeadlineError
from phoenix.serving.inputs import BadRequestError
from phoenix.serving.telemetry import Telemetry
from service_kit.clock import Clock
from service_kit.logs import request_id as current_request_id
from service_kit.tracing import incoming_context, tracer

logger = logging.getLogger(__name__)
R = TypeVar("R")
RpcContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class HasRequestId(Protocol):
    """A request message."""

    @property
    def request_id(self) -> str: ...


class NoModelError(RuntimeError):
    """Nothing is loaded that could answer; the message says what is missing."""


class NotFiniteError(RuntimeError):
    """The model answered NaN or infinity, which must not leave the service."""


_CODES: dict[type[Exception], grpc.StatusCode] = {
    BadRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NoModelError: grpc.StatusCode.FAILED_PRECONDITION,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Calls:
    """Runs the body of an RPC and turns what it raises into a status."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._tracer = tracer("phoenix")

    async def answer(
        self,
        method: str,
        request: HasRequestId,
        context: RpcContext,
        body: Callable[[float], Awaitable[R]],
    ) -> R:
        """The body's result; it gets the deadline in monotonic seconds (infinity for none)."""
        started_s = self._clock.monotonic_s()
        left_s = context.time_remaining()
        deadline_s = math.inf if left_s is None else started_s + left_s
        token = current_request_id.set(request.request_id)
        code = grpc.StatusCode.OK
        try:
            parent = incoming_context(context.invocation_metadata())
            with self._tracer.start_as_current_span(f"phoenix.{method}", context=parent):
                async with asyncio.timeout(left_s):
                    return await body(deadline_s)
        except Exception as error:  # noqa: BLE001 - becomes a status, counted and logged
            code = _CODES.get(type(error), grpc.StatusCode.INTERNAL)
            await self._abort(method, context, code, error)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            self._telemetry.requests.labels(method, code.name).inc()
            seconds = self._clock.monotonic_s() - started_s
            self._telemetry.request_seconds.labels(method).observe(seconds)
            current_request_id.reset(token)

    async def _abort(
        self,
        method: str,
        context: RpcContext,
        code: grpc.StatusCode,
        error: Exception,
    ) -> NoReturn:
        if code is grpc.StatusCode.INTERNAL:
            logger.error("call failed", extra={"method": method}, exc_info=error)
        message = str(error) or "the deadline passed before the answer was ready"
        await context.abort(code, message)
        raise AssertionError("abort always raises")
