"""Calls end before their caller's patience does."""

from __future__ import annotations

import asyncio

import pytest

from home_mixer.deadline import TIMEOUT_S_MIN, call_timeout_s, request_deadline


async def test_the_nearer_of_budget_and_deadline_counts() -> None:
    now_s = asyncio.get_running_loop().time()
    assert call_timeout_s(100.0) == pytest.approx(0.09)
    with request_deadline(now_s + 10.0):
        assert call_timeout_s(100.0) == pytest.approx(0.09)
        assert 8.0 < call_timeout_s(60_000.0) <= 9.0
    with request_deadline(now_s - 1.0):
        assert call_timeout_s(100.0) == TIMEOUT_S_MIN
    assert call_timeout_s(100.0) == pytest.approx(0.09)


async def test_tasks_of_a_request_inherit_its_deadline() -> None:
    async def inner() -> float:
        return call_timeout_s(60_000.0)

    with request_deadline(asyncio.get_running_loop().time() + 1.0):
        task = asyncio.create_task(inner())
    assert await task <= 0.9
