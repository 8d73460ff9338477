"""Compiled kernels: no stale cache after an upgrade, and no compiler in the middle of a request."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from home_mixer import compiled, id_kernels
from home_mixer.clients import wire_kernels
from home_mixer.scorers import author_diversity_scorer
from service_kit.kernel_cache import source_stamp

MODULES = (id_kernels, wire_kernels, author_diversity_scorer)


def test_a_change_in_any_kernel_file_makes_every_cached_kernel_stale(tmp_path: Path) -> None:
    package = Path(compiled.__file__).parent
    for name in compiled.KERNEL_FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(package / name, tmp_path / name)
    before = source_stamp(tmp_path, compiled.KERNEL_FILES)
    assert before == compiled.SOURCE_STAMP
    for name in compiled.KERNEL_FILES:
        with (tmp_path / name).open("a") as file:
            file.write("# changed\n")
        after = source_stamp(tmp_path, compiled.KERNEL_FILES)
        assert after != before, name
        before = after


def test_every_kernel_is_compiled_once_and_carries_the_stamp() -> None:
    """A second type of arguments would stop a feed for the compiler."""
    for module in MODULES:
        file = Path(str(module.__file__)).relative_to(Path(compiled.__file__).parent)
        assert str(file) in compiled.KERNEL_FILES
        kernels = [
            k for k in vars(module).values() if hasattr(getattr(k, "_cache", None), "_cache_file")
        ]
        assert kernels
        for kernel in kernels:
            assert kernel._cache._cache_file._source_stamp == compiled.SOURCE_STAMP
            assert len(kernel.signatures) == 1
            assert not kernel._can_compile


def test_columns_of_any_layout_are_taken_and_other_types_refused() -> None:
    """A store's column may lie row by row with others, or at an odd address."""
    packed = np.array([(1, 7), (1, 8)], np.dtype([("kind", "u1"), ("id", "<u8")]))["id"]
    packed.flags.writeable = False
    found = np.zeros(2, np.bool_)
    table = np.zeros(64, np.uint64)
    assert id_kernels.put_ids(table, packed[:1])
    id_kernels.mark_ids(table, packed, found)
    assert found.tolist() == [True, False]
    with pytest.raises(TypeError):
        id_kernels.mark_ids(table, packed.astype(np.float64), found)


def test_the_ingester_does_without_the_compiler() -> None:
    """It looks no ids up, and the compiler would cost it a hundred megabytes."""
    code = "import home_mixer.ingester, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
