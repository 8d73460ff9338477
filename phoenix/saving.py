"""What a training writes while it goes on: versions, their curves, and no more than it must.

A version is written by a thread, from copies that no later step touches; the next one waits for
it. A failed write is raised by the call after it, and by `finish`. Of several processes only the
first one writes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix import checkpoint as checkpoints
from phoenix.config import RankerConfig, RetrievalConfig
from phoenix.training_state import write_state

CURVES_FILE = "curves.json"
TEMPORARY_PATTERN = re.compile(r"^\.\d{6}-\d+\.(\d+)$")  # .sequence-step.process, half written


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a training, on the host."""

    step: int
    params: Mapping[str, Any]
    arrays: Mapping[str, Any] | None  # what only training reads; None: not to be resumed
    position: Mapping[str, Any]
    meta: Mapping[str, Any]
    curve: list[dict[str, float]]
    write_tables: Callable[[Path], None] | None = None  # those of the host


class Saver:
    """Writes the versions of one run into one directory."""

    def __init__(
        self, directory: Path, config: RankerConfig | RetrievalConfig, run_id: str, keep: int | None
    ) -> None:
        self.run_id = run_id
        self._directory, self._config, self._keep = directory, config, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._last: Future[Path] | None = None

    def begin(self) -> None:
        """Make the directory, so that one that cannot be is known at once; sweep it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        remove_half_written(self._directory)

    def save(self, snapshot: Snapshot) -> None:
        """Write in the background, after the write before it; at once, if tables are mapped."""
        self._wait()
        self._last = self._thread.submit(self._write, snapshot)
        if snapshot.write_tables is not None:  # no step may change them meanwhile
            self._wait()

    def finish(self) -> Path | None:
        """Wait for the last version and return its path; None: there was none."""
        return self._wait()

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *_error: object) -> None:
        """Whatever ended the training, what is being written gets written."""
        self._thread.shutdown()

    def _wait(self) -> Path | None:
        return self._last.result() if self._last is not None else None

    def _write(self, snapshot: Snapshot) -> Path:
        arrays = snapshot.arrays
        path = checkpoints.save(
            self._directory,
            step=snapshot.step,
            config=self._config,
            params=snapshot.params,
            meta={**snapshot.meta, "run_id": self.run_id},
            write_state=(lambda path: write_state(path, arrays, snapshot.position))
            if arrays is not None
            else None,
            write_tables=snapshot.write_tables,
        )
        _write_atomically(self._directory / CURVES_FILE, json.dumps(snapshot.curve))
        if self._keep is not None:
            prune(self._directory, self.run_id, self._keep)
        return path


def prune(directory: Path, run_id: str, keep: int) -> None:
    """Remove a run's versions but its newest `keep`, and never another run's or the newest of all.

    Versions of earlier trainings stay: they are what one goes back to.
    """
    own = [path for path in checkpoints.versions(directory) if _run_id(path) == run_id]
    newest = checkpoints.latest(directory)
    for path in own[:-keep]:
        if path != newest:
            shutil.rmtree(_hidden(path))


def remove_half_written(directory: Path) -> None:
    """Remove what killed processes of this machine left under hidden names."""
    for path in directory.iterdir():
        match = TEMPORARY_PATTERN.match(path.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(path)


def _hidden(path: Path) -> Path:
    """Take a version's name away first: a reader never sees one half removed."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    path.rename(hidden)
    return hidden


def _run_id(path: Path) -> str | None:
    meta = json.loads((path / checkpoints.META_FILE).read_text())
    found = meta.get("run_id")
    return str(found) if found is not None else None


def _alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process_id != os.getpid()  # our own number, used before: nothing is being written yet


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
