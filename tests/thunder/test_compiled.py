"""Compiled kernels: no stale cache after an upgrade, no reference leaked by a call."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from thunder import (
    answer_kernels,
    compiled,
    event_kernels,
    feed_kernels,
    id_map,
    post_kernels,
    query_kernels,
    segments,
    write_kernels,
)


def test_a_change_in_any_kernel_file_makes_every_cached_kernel_stale(tmp_path: Path) -> None:
    package = Path(compiled.__file__).parent
    for name in compiled.KERNEL_FILES:
        shutil.copy(package / name, tmp_path / name)
    before = compiled.source_stamp(tmp_path, compiled.KERNEL_FILES)
    assert before == compiled.SOURCE_STAMP
    for name in compiled.KERNEL_FILES:
        with (tmp_path / name).open("a") as file:
            file.write("# changed\n")
        after = compiled.source_stamp(tmp_path, compiled.KERNEL_FILES)
        assert after != before, name
        before = after


def test_every_kernel_carries_the_stamp() -> None:
    kernel_modules = (
        id_map,
        segments,
        write_kernels,
        query_kernels,
        answer_kernels,
        event_kernels,
        post_kernels,
        feed_kernels,
    )
    for module in kernel_modules:
        assert Path(str(module.__file__)).name in compiled.KERNEL_FILES
        kernels = [
            k for k in vars(module).values() if hasattr(getattr(k, "_cache", None), "_cache_file")
        ]
        assert kernels
        for kernel in kernels:
            assert kernel._cache._cache_file._source_stamp == compiled.SOURCE_STAMP


def test_calls_leave_the_arrays_reference_counts_alone(bench: Any) -> None:
    """Kernels do not count references; if calls leaked some, memory would never come back."""
    bench.take(*(bench.post(i, author=i % 9 + 1) for i in range(1, 100)))
    before = sum(sys.getrefcount(array) for array in bench.store._state)
    for i in range(200):
        bench.ids(*range(1, 10))
        bench.take(bench.post(1000 + i), bench.delete(i + 1))
    after = sum(sys.getrefcount(array) for array in bench.store._state)
    assert after - before < 200, "a leaked reference a call would be 400 for each array"
