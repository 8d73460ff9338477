"""Searches share a pass: each must get its own answer, and no failure or leaving of another."""

import asyncio
import threading

import numpy as np
import pytest

from phoenix.index.search import SearchRequest
from phoenix.serving.search_merger import SEARCHES_MAX, SearchMerger


class Index:
    """Answers a request with its `k`; holds every pass until it is let go."""

    def __init__(self):
        self.passes, self.started, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def search_many(self, requests):
        self.passes.append([request.k for request in requests])
        self.started.release()
        assert self.go.acquire(timeout=30)
        if any(request.k < 0 for request in requests):
            raise ValueError("a broken pass")
        return [request.k for request in requests]


def search(merger, index, k):
    return asyncio.create_task(merger.search(index, SearchRequest(np.zeros(1, np.float32), k)))


async def started(index):
    assert await asyncio.to_thread(index.started.acquire, timeout=30)


async def test_searches_that_arrive_during_a_pass_share_the_next_one():
    merger, index = SearchMerger(), Index()
    first = search(merger, index, 0)
    await started(index)
    others = [search(merger, index, k) for k in range(1, SEARCHES_MAX + 3)]
    await asyncio.sleep(0)
    index.go.release(3)
    assert await asyncio.gather(first, *others) == list(range(SEARCHES_MAX + 3))
    assert [len(one) for one in index.passes] == [1, SEARCHES_MAX, 2]


async def test_a_pass_is_of_one_index_so_that_a_new_models_query_never_meets_the_old_rows():
    merger, old, new = SearchMerger(), Index(), Index()
    old.go.release(9)
    new.go.release(9)
    found = await asyncio.gather(*(search(merger, one, k) for k, one in enumerate([old, new, old])))
    assert found == [0, 1, 2]
    assert (old.passes, new.passes) == ([[0, 2]], [[1]])


async def test_a_pass_that_fails_tells_its_own_searches_and_the_next_one_runs():
    merger, index = SearchMerger(), Index()
    broken = search(merger, index, -1)
    await started(index)
    sound = search(merger, index, 5)
    await asyncio.sleep(0)
    index.go.release(2)
    with pytest.raises(ValueError, match="a broken pass"):
        await broken
    assert await sound == 5


async def test_a_search_whose_caller_left_is_not_run():
    merger, index = SearchMerger(), Index()
    first, left = search(merger, index, 1), search(merger, index, 2)
    await started(index)
    gone = search(merger, index, 3)
    await asyncio.sleep(0)
    gone.cancel()
    last = search(merger, index, 4)
    await asyncio.sleep(0)
    index.go.release(2)
    assert [await first, await left, await last] == [1, 2, 4]
    assert index.passes == [[1, 2], [4]]
