"""A small world whose next item follows from the last one, and the command that is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phoenix.sequential.interactions import read_interactions
from phoenix.sequential.protocol import Protocol, leave_one_out

ITEMS = 60


@pytest.fixture(scope="session")
def markov_lines() -> list[str]:
    """300 users who follow a permutation of 60 items most of the time, and never repeat one."""
    rng = np.random.default_rng(0)
    successor = rng.permutation(ITEMS)
    lines = []
    for user in range(300):
        item, seen = int(rng.integers(ITEMS)), set[int]()
        for _ in range(int(rng.integers(4, 20))):
            while item in seen:
                item = int(rng.integers(ITEMS))
            seen.add(item)
            lines.append(f"u{user} {item}")
            item = int(successor[item] if rng.random() < 0.8 else rng.integers(ITEMS))
    return lines


@pytest.fixture(scope="session")
def markov_file(markov_lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("markov") / "interactions.txt"
    path.write_text("\n".join(markov_lines) + "\n")
    return path


@pytest.fixture(scope="session")
def markov(markov_file: Path) -> Protocol:
    return leave_one_out(read_interactions(markov_file))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a text to a file and gives its path."""

    def write(text: str, name: str = "data.txt") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
