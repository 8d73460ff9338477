"""The order in which the events are really sent: shuffled, overtaken and duplicated, by seed.

At-least-once delivery without order across keys, made worse: inside a window of records any two
keys may change places, some keys are shuffled in themselves, some creates arrive after their own
delete, and one record in a hundred is sent twice, the second time much later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.replay.derive import Replay
from benchmarks.replay.events import Create, Send, encode

WINDOW_RECORDS = 2_000  # a second or two of the burst's traffic
KEY_SHUFFLED_SHARE = 0.1  # keys whose own order is lost too, by window
OVERTAKEN_SHARE = 0.005  # of the creates: sent up to OVERTAKEN_RECORDS_MAX later
DUPLICATE_SHARE = 0.01
LATER_RECORDS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Stream:
    """``sends`` in the order of sending; their ``due_ms`` never falls."""

    sends: list[Send]
    duplicates: int
    overtaken: int


def make_stream(replay: Replay, seed: int) -> Stream:
    """Every event at least once."""
    rng = np.random.default_rng(seed)
    sends = [encode(event, due_ms) for due_ms, event in replay.due]
    creates = np.array([isinstance(event, Create) for event in replay.events])
    overtaken = creates & (rng.random(len(sends)) < OVERTAKEN_SHARE)
    twice = rng.random(len(sends)) < DUPLICATE_SHARE
    places = np.arange(len(sends), dtype=np.float64)
    delays = rng.uniform(1, min(LATER_RECORDS_MAX, len(sends)), (2, len(sends)))
    places[overtaken] += delays[0, overtaken]
    again = np.flatnonzero(twice)
    order = np.argsort(np.concatenate([places, again + delays[1, again]]), kind="stable")
    rows = np.concatenate([np.arange(len(sends)), again])[order]
    mixed = _mixed([sends[row] for row in rows.tolist()], rng)
    return Stream(_due_in_order(mixed), int(twice.sum()), int(overtaken.sum()))


def _mixed(sends: list[Send], rng: np.random.Generator) -> list[Send]:
    mixed: list[Send] = []
    for start in range(0, len(sends), WINDOW_RECORDS):
        window = sends[start : start + WINDOW_RECORDS]
        mixed += _mixed_window(window, rng)
    return mixed


def _mixed_window(window: list[Send], rng: np.random.Generator) -> list[Send]:
    """Any order of the keys; the order inside a key is kept, but for some keys."""
    shuffled = [window[at] for at in rng.permutation(len(window)).tolist()]
    by_key: dict[bytes, list[Send]] = {}
    for send in reversed(window):
        by_key.setdefault(send.key, []).append(send)
    for key, own in by_key.items():
        if len(own) > 1 and rng.random() < KEY_SHUFFLED_SHARE:
            by_key[key] = [own[at] for at in rng.permutation(len(own)).tolist()]
    return [by_key[send.key].pop() for send in shuffled]


def _due_in_order(sends: list[Send]) -> list[Send]:
    """Each is due when its new place is: what comes late holds nobody up."""
    due = sorted(send.due_ms for send in sends)
    return [send._replace(due_ms=at) for send, at in zip(sends, due, strict=True)]
