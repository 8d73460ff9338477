"""A gRPC method that answers what a test says and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest


class FakeMethod:
    """Stands for a stub's method: ``answers`` may be messages or a status code."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[Any] = []
        self.timeouts: list[float] = []

    async def __call__(self, request: Any, **given: Any) -> Any:
        self.requests.append(request)
        self.timeouts.append(given["timeout"])
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, grpc.StatusCode):
            empty = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(answer, empty, empty, "as the test wants it")
        return answer(request) if callable(answer) else answer


@pytest.fixture
def fake_method() -> Callable[..., FakeMethod]:
    return FakeMethod
