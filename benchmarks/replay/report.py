"""What one replay was, what was done to it and what came out: a table and a JSON object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.replay.chaos import Damage
from benchmarks.replay.compare import Difference
from benchmarks.replay.derive import Replay
from benchmarks.replay.producer import Producer
from benchmarks.replay.stream import Stream

DIFFERENCES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Report:
    """``seconds``: from the first process to the last comparison; ``drain_s``: from the last
    acknowledgement (or restart) until no consumer lagged."""

    replay: Replay
    stream: Stream
    producer: Producer
    damage: Damage
    starts: dict[str, int]
    batches_failed: int  # and tried again, in the processes that are left
    dead_letters: int
    differences: list[Difference]
    drain_s: float
    seconds: float

    @property
    def lost(self) -> int:
        """Posts, users and viewers of which some store does not say what the events said."""
        return len({difference.subject for difference in self.differences})

    def to_json(self) -> dict[str, Any]:
        """Everything, the first differences in words."""
        return {
            "events": self.replay.counts(),
            "post_events": sum(n for kind, n in self.replay.counts().items() if kind != "follow"),
            "sent_twice": self.stream.duplicates,
            "creates_overtaken": self.stream.overtaken,
            "acknowledged": self.producer.acknowledged,
            "sends_failed": self.producer.failures,
            "records_sent_again": self.producer.sent_again,
            "kills": self.damage.kills,
            "kills_while_the_broker_was_away": self.damage.while_broker_away,
            "servers": self.damage.servers,
            "process_starts": self.starts,
            "batches_failed": self.batches_failed,
            "production_seconds": round(self.producer.seconds, 1),
            "drain_seconds": round(self.drain_s, 1),
            "seconds": round(self.seconds, 1),
            "dead_letters": self.dead_letters,
            "differences": len(self.differences),
            "lost": self.lost,
            "first_differences": [str(item) for item in self.differences[:DIFFERENCES_SHOWN]],
        }

    def table(self) -> str:
        """One line a figure."""
        rows = [(name.replace("_", " "), _shown(value)) for name, value in self.to_json().items()]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return "\n  ".join(["", *map(str, value)]) if value else "none"
    return str(value)
