"""Progress of long work as lines of text: share done, loss and time left."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from phoenix.training_options import ProgressEvent

LINES_MAX = 20  # a training shows at most so many lines beside its first and last


class ProgressLines:
    """A `phoenix.training_options.Progress` that prints when enough has happened."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream = name, stream
        self._shown = -1

    def __call__(self, event: ProgressEvent) -> None:
        part = int(event.fraction * LINES_MAX)
        if part == self._shown and event.fraction < 1:
            return
        self._shown = part
        print(
            f"{self._name}: {event.fraction:4.0%}  step {event.step}  loss {event.loss:.4f}  "
            f"{max(event.remaining_seconds, 0):.0f} s left",
            file=self._stream,
            flush=True,
        )
