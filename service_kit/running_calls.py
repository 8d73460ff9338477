"""How many calls of the service itself are under way: what a drain waits for.

Health watches and reflection are left out: their clients hold them open for as long as they live.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

SIDE_METHODS = "/grpc."  # grpc.health.v1, grpc.reflection.v1alpha


class RunningCalls(grpc.aio.ServerInterceptor):
    """Give it to the server as an interceptor. Counts unary calls: the suite has no others."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def count(self) -> int:
        """Calls whose handlers run now."""
        return self._count

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        unary = getattr(handler, "unary_unary", None)  # no handler: gRPC says UNIMPLEMENTED
        if handler is None or unary is None or handler_call_details.method.startswith(SIDE_METHODS):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._counted(unary), handler.request_deserializer, handler.response_serializer
        )

    def _counted(self, answer: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def counted(request: Any, context: Any) -> Any:
            self._count += 1
            try:
                return await answer(request, context)
            finally:
                self._count -= 1

        return counted
