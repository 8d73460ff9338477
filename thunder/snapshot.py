"""Snapshots of the store: a start reads the newest that is whole, and of the topic only the rest.

A snapshot stands for one topic, one share of it and, by partition, the next offset to read. It may
hold more than those offsets say, never less: what is read twice changes nothing. A file is written
beside its name and renamed when it is on the disk; the newest two stay. What is damaged, of another
format, share or topic, or does not fit the log any more is refused with its reason, and the one
before it, or else the topic from its start, is used instead.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray

from service_kit.clock import Clock
from service_kit.event_log import TopicPartition
from thunder import layout, snapshot_copy, snapshot_format
from thunder.log_identity import Marks
from thunder.metrics import SnapshotMetrics
from thunder.shares import Share
from thunder.snapshot_format import Section, SnapshotError
from thunder.store import PostStore

logger = logging.getLogger(__name__)
SNAPSHOTS_KEPT: Final = 2  # the second for the day that the first is damaged
SUFFIX: Final = ".snapshot"
PARTIAL_SUFFIX: Final = ".partial"

Positions = Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Stand:
    """What of the log a snapshot stands for: where to go on, and the records that it knows."""

    positions: Positions
    marks: Marks = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogBounds:
    """What the topic holds: first and next offset by partition."""

    starts: Positions
    ends: Positions


class Snapshots:
    """Those of one topic and share in one directory, which several replicas may use."""

    def __init__(
        self, directory: Path, topic: str, share: Share, clock: Clock, metrics: SnapshotMetrics
    ) -> None:
        self._directory = directory
        self._topic = topic
        self._share = share
        self._clock = clock
        self._metrics = metrics
        self._stem = f"{topic}-{share.index}-of-{share.count}-"

    def write(
        self,
        store: PostStore,
        stand: Stand,
        keep_going: Callable[[], bool] = lambda: True,
        *,
        in_place: bool = False,
    ) -> bool:
        """Writes one, drops the third newest; False, counted and logged, where that failed.

        ``stand``: read before the call, so that the store holds at least what it says. Inserts
        wait while the arrays are copied, or (``in_place``, no more memory) until all is written.
        """
        started_s = time.monotonic()
        try:
            file_bytes = self._write(store, stand, keep_going, in_place=in_place)
        except OSError as error:
            self._metrics.failures.inc()
            logger.error(
                "snapshot not written; the one before it stays",
                extra={"directory": str(self._directory), "reason": str(error)},
            )
            return False
        self._metrics.wrote(file_bytes, time.monotonic() - started_s, self._clock.now_ms())
        return True

    def restore(self, store: PostStore, log: LogBounds) -> Stand:
        """Fills the store from the newest usable snapshot; what it stands for, nothing where there
        is none and the topic is read from its start."""
        self._remove_partials()
        for path in self._newest_first():
            try:
                return self._read(path, store, log)
            except SnapshotError as error:
                self._metrics.refused.labels(error.kind).inc()
                reason = str(error)
            except OSError as error:
                self._metrics.refused.labels("unreadable").inc()
                reason = f"it cannot be read: {error}"
            logger.error(
                "snapshot refused; an older one or the topic from its start is used instead",
                extra={"path": str(path), "reason": reason},
            )
        return Stand({})

    def reject(self, store: PostStore) -> None:
        """Empties a store whose snapshot's records are not in the log: it is another one."""
        store.adopt(layout.new_state(store.posts_max))
        self._metrics.refused.labels("other_log").inc()
        self._metrics.restored(0, 0.0, None)
        logger.error(
            "snapshot refused; the topic is read from its start",
            extra={
                "topic": self._topic,
                "reason": "the newest records that it knows are not in the log: "
                "this is another log than the one that it was taken from",
            },
        )

    def _write(
        self, store: PostStore, stand: Stand, keep_going: Callable[[], bool], *, in_place: bool
    ) -> int:
        self._directory.mkdir(parents=True, exist_ok=True)
        now_ms = self._clock.now_ms()
        path = self._directory / f"{self._stem}{now_ms:015d}{SUFFIX}"
        partial = self._directory / f"{self._stem}{uuid.uuid4().hex}{PARTIAL_SUFFIX}"
        try:
            with partial.open("xb", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # says that its writer lives
                room = {} if in_place else _room_for(store)
                with self._frozen(store) as state:
                    about = self._about(store, state, stand, now_ms)
                    arrays = layout.in_use(state)
                    if in_place:
                        snapshot_format.write(file, arrays.items(), about, keep_going)
                    else:
                        arrays = snapshot_copy.copied(arrays, room)
                if not in_place:
                    each = ((name, arrays.pop(name)) for name in list(arrays))  # and is let go of
                    snapshot_format.write(file, each, about, keep_going)
                os.fsync(file.fileno())
                partial.replace(path)
            self._sync_directory()
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        for old in self._newest_first()[SNAPSHOTS_KEPT:]:
            old.unlink(missing_ok=True)
        return path.stat().st_size

    @contextmanager
    def _frozen(self, store: PostStore) -> Iterator[layout.State]:
        with store.frozen() as state:
            started_s = time.monotonic()
            yield state
            self._metrics.pause.observe(time.monotonic() - started_s)

    def _about(
        self, store: PostStore, state: layout.State, stand: Stand, now_ms: int
    ) -> dict[str, object]:
        return {
            "layout": layout.fingerprint(),
            "topic": self._topic,
            "share_index": self._share.index,
            "share_count": self._share.count,
            "created_ms": now_ms,
            "retention_ms": store.retention_ms,
            "posts": int(state.numbers[layout.POSTS]),
            "positions": {str(p): at for (_, p), at in sorted(stand.positions.items())},
            "marks": {str(p): mark for (_, p), mark in sorted(stand.marks.items())},
        }

    def _read(self, path: Path, store: PostStore, log: LogBounds) -> Stand:
        started_s = time.monotonic()
        with path.open("rb", buffering=0) as file:
            about, sections = snapshot_format.read_about(file)
            try:
                stand = self._check(about, store, log)
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise SnapshotError("format", f"its contents lack a field: {error!r}") from None
            state = _read_state(file, sections, store.posts_max)
        store.adopt(state)
        self._metrics.restored(about["posts"], time.monotonic() - started_s, about["created_ms"])
        logger.info(
            "snapshot restored",
            extra={"path": str(path), "posts": about["posts"], "created_ms": about["created_ms"]},
        )
        return stand

    def _check(self, about: Mapping[str, Any], store: PostStore, log: LogBounds) -> Stand:
        """What a snapshot stands for that fits this replica and its log. Raises SnapshotError."""
        expected: dict[str, object] = {
            "layout": layout.fingerprint(),
            "topic": self._topic,
            "share_index": self._share.index,
            "share_count": self._share.count,
        }
        for name, value in expected.items():
            if about.get(name) != value:
                kind = "format" if name == "layout" else "other_share"
                reason = f"its {name} is {about.get(name)!r}: this replica's is {value!r}"
                raise SnapshotError(kind, reason)
        if store.retention_ms > about["retention_ms"]:
            raise SnapshotError(
                "settings",
                f"it keeps posts of {about['retention_ms']} ms: the retention is now "
                f"{store.retention_ms} ms, so older ones may be missing",
            )
        positions = {(self._topic, int(p)): int(at) for p, at in about["positions"].items()}
        check_bounds(positions, log)
        marks = {(self._topic, int(p)): (int(m[0]), int(m[1])) for p, m in about["marks"].items()}
        return Stand(positions, marks)

    def _newest_first(self) -> list[Path]:
        """By the time in their names, which has a fixed width."""
        return sorted(self._directory.glob(f"{self._stem}*{SUFFIX}"), reverse=True)

    def _remove_partials(self) -> None:
        """Those of writers that were killed: nobody holds their lock."""
        for path in self._directory.glob(f"{self._stem}*{PARTIAL_SUFFIX}"):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def _sync_directory(self) -> None:
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _room_for(store: PostStore) -> dict[str, NDArray[Any]]:
    with store.frozen() as state:
        arrays = layout.in_use(state)
    return snapshot_copy.room_for(arrays)  # asks for their sizes alone


def check_bounds(positions: Positions, log: LogBounds) -> None:
    """SnapshotError where the log was made anew, or has dropped what comes after a position."""
    for at, position in positions.items():
        name = f"partition {at[1]} of {at[0]}"
        end = log.ends.get(at)
        if end is None:
            raise SnapshotError("other_log", f"it knows {name}, which the log does not have")
        if position > end:
            raise SnapshotError(
                "other_log",
                f"it stands at offset {position} of {name}, beyond its end at {end}: "
                "this is another log than the one that it was taken from",
            )
        if position < log.starts.get(at, 0):
            raise SnapshotError(
                "gap",
                f"it stands at offset {position} of {name}, which now begins at "
                f"{log.starts[at]}: what was between is gone",
            )


def _read_state(file: BinaryIO, sections: list[Section], posts_max: int) -> layout.State:
    shapes = {section.name: section.shape for section in sections}
    if shapes.keys() != set(layout.State._fields):
        raise SnapshotError("format", f"its sections are {sorted(shapes)}: expected those of State")
    try:
        state = layout.state_for(shapes, posts_max)
    except ValueError as error:
        raise SnapshotError("settings", f"posts_max is too small for it: {error}") from None
    for section in sections:
        array = getattr(state, section.name)
        snapshot_format.read_section(file, section, array[: section.shape[0]])
    return state
