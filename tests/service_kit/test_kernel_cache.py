"""Compiled kernels on disk, as another release finds them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

KERNELS = """
from pathlib import Path
from typing import Any, NamedTuple

import numba

from service_kit.kernel_cache import source_stamp, stamped


class {name}(NamedTuple):
    numbers: Any


def add(pair):
    return pair.numbers[0] + {added}


compiled = stamped(numba.njit(cache=True)(add), source_stamp(Path(__file__).parent, ["kernels.py"]))
"""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(name of the type, number) -> the module of a release that is installed over the last."""

    def install(name: str, added: int) -> Any:
        path = tmp_path / "kernels.py"
        path.write_text(KERNELS.format(name=name, added=added))
        spec = importlib.util.spec_from_file_location("kernels_on_disk", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "kernels_on_disk", module)
        source = path.read_bytes()  # no bytecode: two releases may be of one second
        exec(compile(source, str(path), "exec"), module.__dict__)
        return module

    return install


def test_a_release_whose_types_are_gone_leaves_nothing_behind(release: Any) -> None:
    """A service must start after an update that renamed what its kernels take."""
    one = release("Before", 1)
    assert one.compiled(one.Before(np.zeros(1))) == 1
    other = release("After", 2)
    assert other.compiled(other.After(np.zeros(1))) == 2


def test_what_was_compiled_is_found_again(release: Any) -> None:
    """A start must not compile what the last one left."""
    for hits in (0, 1):
        module = release("Same", 3)
        assert module.compiled(module.Same(np.zeros(1))) == 3
        assert sum(module.compiled.stats.cache_hits.values()) == hits
