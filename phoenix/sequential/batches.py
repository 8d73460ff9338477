"""Training batches: windows of users' sequences, in a few lengths, as many tokens in each.

A transition is (items up to t) → item t + 1. Users longer than a history are cut into windows, so
that every transition is trained on exactly once an epoch (`newest` alone drops the older ones).
Short windows go into short batches: a MovieLens user has 96 items in the median, and half of the
work would otherwise be padding.

Glossary: B rows of a batch, T its length, W windows, M targets of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix.sequential.config import SequentialConfig, SequentialTraining
from phoenix.sequential.interactions import Items, Sequences

SHORTEST_BATCH = 25  # lengths double from here to the history's: 25, 50, 100, 200


class Batch(NamedTuple):
    """Causal: the item after each position. A set: the items that were taken out of it."""

    history: Items  # [B, T], right-anchored, 0 is padding
    targets: Items  # [B, T], 0 is no target


def batch_lengths(history_length: int) -> tuple[int, ...]:
    lengths = []
    length = SHORTEST_BATCH
    while length < history_length:
        lengths.append(length)
        length *= 2
    return (*lengths, history_length)


def epoch_batches(
    sequences: Sequences,
    config: SequentialConfig,
    training: SequentialTraining,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """One pass over all users, shuffled; a function of `rng`'s state alone."""
    if config.causal:
        rows = _windows(sequences.lengths, config.history_length, training.windows, rng)
        sizes = rows[:, 2] - rows[:, 1]
    else:
        users = np.flatnonzero(sequences.lengths >= 2)
        rows, sizes = users[:, None], np.minimum(sequences.lengths[users], config.history_length)
    for length, chosen in _groups(sizes, config.history_length, training.tokens_per_batch, rng):
        batch = _empty(max(1, training.tokens_per_batch // length), length)
        for i, row in enumerate(rows[chosen].tolist()):
            if config.causal:
                _put_window(batch, i, sequences[row[0]][row[1] : row[2] + 1])
            else:
                _put_set(batch, i, sequences[row[0]], training.left_out, rng)
        yield _hidden(batch, training.input_mask, rng)


def _windows(
    lengths: NDArray[np.int64], history: int, kind: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """[W, 3]: user, first transition, end; transition t reads item t and predicts t + 1."""
    found = []
    for user, length in enumerate(lengths.tolist()):
        end = length - 1
        if kind == "shifted" and end > history:
            start = end - int(rng.integers(1, history + 1))
            found.append((user, start, end))
            end = start
        while end > 0:
            start = max(0, end - history)
            found.append((user, start, end))
            end = start if kind != "newest" else 0
    return np.array(found, np.int64).reshape(-1, 3)


def _groups(
    sizes: NDArray[np.int64], history: int, tokens: int, rng: np.random.Generator
) -> list[tuple[int, NDArray[np.int64]]]:
    """(length, rows of one batch), in random order."""
    groups = []
    shortest = 0
    for length in batch_lengths(history):
        chosen = np.flatnonzero((sizes > shortest) & (sizes <= length))
        shortest = length
        rng.shuffle(chosen)
        count = max(1, tokens // length)
        groups += [(length, chosen[i : i + count]) for i in range(0, len(chosen), count)]
    order = rng.permutation(len(groups))
    return [groups[i] for i in order]


def _empty(rows: int, length: int) -> Batch:
    return Batch(np.zeros((rows, length), np.int32), np.zeros((rows, length), np.int32))


def _put_window(batch: Batch, row: int, items: Items) -> None:
    """Items of transitions and the one behind them → inputs and their next items."""
    size = len(items) - 1
    batch.history[row, -size:] = items[:-1]
    batch.targets[row, -size:] = items[1:]


def _put_set(
    batch: Batch, row: int, items: Items, left_out: float, rng: np.random.Generator
) -> None:
    """A random share of the items as targets, at least one; the others as the history."""
    shuffled = rng.permutation(items)
    count = min(max(1, round(left_out * len(items))), len(items) - 1)
    length = batch.history.shape[1]
    targets, kept = shuffled[:count][:length], shuffled[count:][:length]
    batch.history[row, -len(kept) :] = kept
    batch.targets[row, : len(targets)] = targets


def _hidden(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """Hide a share of the input items; they become padding."""
    if not share:
        return batch
    keep = rng.random(batch.history.shape) >= share
    return batch._replace(history=np.where(keep, batch.history, 0))


def padded(histories: list[Items], length: int, rows: int) -> Items:
    """The newest items of each → [rows, length], right-anchored; rows beyond them are empty."""
    out = np.zeros((rows, length), np.int32)
    for row, items in zip(out, histories, strict=False):
        newest = items[-length:]
        if len(newest):
            row[-len(newest) :] = newest
    return out
