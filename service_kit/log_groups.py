"""Committed offsets of one consumer group: a small JSON file, replaced atomically."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from service_kit.event_log import TopicPartition

GROUP_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}")


class GroupOffsets:
    """Several processes of one group may commit different partitions; each keeps the others'."""

    def __init__(self, directory: Path, group: str) -> None:
        """Raises ValueError for a group that cannot be a file name."""
        if not GROUP_NAME.fullmatch(group):
            raise ValueError(f"group {group!r}: expected letters, digits, '.', '_' or '-'")
        self._path = directory / f"{group}.json"

    def load(self) -> dict[TopicPartition, int]:
        """Next offset to read by partition; empty for a group that never committed."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return {}
        try:
            stored = json.loads(text)
            return {(t, int(p)): int(o) for t, parts in stored.items() for p, o in parts.items()}
        except (ValueError, AttributeError) as error:
            raise ValueError(
                f"{self._path}: not the offsets of a group ({error}); remove the file to start "
                "from the earliest record, which is safe for idempotent consumers"
            ) from error

    def store(self, positions: Mapping[TopicPartition, int]) -> None:
        """Merges ``positions`` into the file; on return they survive a crash."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
            merged = {**self.load(), **positions}
            by_topic: dict[str, dict[str, int]] = {}
            for (topic, partition), offset in sorted(merged.items()):
                by_topic.setdefault(topic, {})[str(partition)] = offset
            self._replace(json.dumps(by_topic, indent=1))

    def _replace(self, text: str) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
