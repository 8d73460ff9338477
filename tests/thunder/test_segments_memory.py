"""What an author's posts took is given back once the author writes less."""

from __future__ import annotations

from typing import Any

import numpy as np

from thunder import layout

AUTHORS, BURST, USUAL = 200, 64, 3
CYCLE_MS = 1_000


def cycle(bench: Any, number: int) -> None:
    """One author writes much and the others little; all of it is gone a cycle later."""
    bench.clock.advance_ms(CYCLE_MS)
    authors = np.repeat(np.arange(1, AUTHORS + 1), USUAL)
    authors = np.concatenate([authors, np.full(BURST, 1 + number % AUTHORS)])
    posts = np.zeros(authors.size, layout.ROW)
    posts["post_id"] = 1 + number * authors.size + np.arange(authors.size)
    posts["author_id"] = authors
    posts["created_at_ms"] = bench.clock.now_ms()
    bench.store.insert(posts, np.zeros(posts.size, np.uint8))
    bench.store.trim()


def test_memory_does_not_grow_with_the_hours(make_bench: Any) -> None:
    """Every author is prolific once; blocks kept for ever would add up until memory is full."""
    bench = make_bench(posts_max=2_000, retention_ms=CYCLE_MS + 1)
    sizes = []
    for number in range(AUTHORS):
        cycle(bench, number)
        sizes.append(bench.store.sizes().bytes_in_use)
    assert sizes[-1] <= 1.02 * sizes[40]
    assert bench.ids(*range(1, AUTHORS + 1), results_max=5_000)[:1] == [
        AUTHORS * (AUTHORS * USUAL + BURST)
    ]
