"""A factorisation machine (Rendle, ICDM 2010) per action, trained row by row with AdaGrad.

    logit = w₀ + Σ_f w_f + Σ_{f<g} ⟨v_f, v_g⟩ = w₀ + Σ_f w_f + ½ (|Σ_f v_f|² − Σ_f |v_f|²)

over the fields user, video, author, two tags, tab and hour; feature 0 is padding and counts not.
The number of epochs is the one that was best on the last known day, of a machine trained on the
days before; the machine that predicts is then trained on all days for as many epochs.

N rows, F features, K rank, M fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix.evaluation.baselines.examples import Examples, Task
from phoenix.evaluation.baselines.statistics import key_index
from phoenix.factorisation import Machine, bias_of, fresh, learn, logits, no_steps


@dataclass(frozen=True, slots=True)
class FactorisationOptions:
    """Chosen on 27 April 2022, trained on the days before."""

    rank: int = 16
    learning_rate: float = 0.02  # .05 costs .003 of the primary of that day
    penalty: float = 1e-2  # λ of ½ λ (w² + |v|²), once for each row that a feature stands in
    scale: float = 0.01  # standard deviation of v at the start
    epochs_max: int = 20
    patience: int = 2  # epochs without a better log loss before stopping


class Fitted(NamedTuple):
    """What came of one action."""

    probabilities: NDArray[np.float64]  # [N]
    epochs: int
    began_with: str  # "nothing", or the action whose machine was the start


def fit_predict(
    task: Task,
    action_names: Sequence[str],
    options: FactorisationOptions,
    seed: int,
    first: str = "long_view",
) -> dict[str, Fitted]:
    """Of each action that can be told. `first` is fitted first, as most rows tell it.

    Every other action is fitted twice, from nothing and from the machine of `first`, and the start
    that is better on the last known day is kept. An action that is not told twice over, early and
    late, is left out.
    """
    features, size = field_features(Examples.concat([task.known, task.asked]))
    rows = _Rows(features[: len(task.known)], features[len(task.known) :], size)
    order = sorted(range(len(action_names)), key=lambda at: action_names[at] != first)
    found: dict[str, Fitted] = {}
    start: Start | None = None
    for action in order:
        labels = task.known.labels[:, action]
        early = task.known.day < task.last_day
        told = ~np.isnan(labels)
        if min(_kinds(labels[told & early]), _kinds(labels[told & ~early])) < 2:
            continue
        name = action_names[action]
        fitted, machines = _fit(rows, labels, told, early, start, options, seed)
        found[name] = fitted
        if name == first:
            start = Start(first, *machines)
    return found


class Start(NamedTuple):
    """A machine of the early days to choose with, and one of all days to predict with."""

    name: str
    early: Machine
    full: Machine


class _Rows(NamedTuple):
    known: NDArray[np.int32]  # [N, M]
    asked: NDArray[np.int32]  # [N, M]
    size: int  # F


def _fit(
    rows: _Rows,
    labels: NDArray[np.float64],
    told: NDArray[np.bool_],
    early: NDArray[np.bool_],
    start: Start | None,
    options: FactorisationOptions,
    seed: int,
) -> tuple[Fitted, tuple[Machine, Machine]]:
    before, after = told & early, told & ~early
    held_out = rows.known[after], labels[after]
    tried = []
    for begin in [None, start] if start else [None]:
        machine = _machine(labels[before], rows.size, options, seed, begin and begin.early)
        learned = rows.known[before], labels[before]
        tried.append((*_best(machine, learned, held_out, options, seed), begin))
    _, epochs, early_machine, begin = min(tried, key=lambda one: one[0])
    machine = _machine(labels[told], rows.size, options, seed, begin and begin.full)
    rates = options.learning_rate, options.penalty
    sums, rng = no_steps(machine), np.random.default_rng(seed)
    for _ in range(epochs):
        learn(machine, sums, rows.known[told], labels[told], *rates, rng)
    fitted = Fitted(_predict(machine, rows.asked), epochs, begin.name if begin else "nothing")
    return fitted, (early_machine, machine)


def field_features(rows: Examples) -> tuple[NDArray[np.int32], int]:
    """Features [N, M] of each row and their number F; 0 where a tag is missing."""
    columns = [
        key_index(rows.user_ids),
        key_index(rows.video_ids),
        key_index(rows.author_ids),
        rows.tags[:, 0],
        rows.tags[:, 1],
        rows.tab + 1,  # unknown is a value of its own: all older rows have it
        rows.hour + 1,
    ]
    start, features = 1, np.zeros((len(rows), len(columns)), dtype=np.int32)
    for at, column in enumerate(columns):
        missing = column == 0 if at in (3, 4) else np.zeros(len(rows), np.bool_)
        features[:, at] = np.where(missing, 0, column + start)
        start += int(column.max(initial=0)) + 1
    return features, start


def _best(
    machine: Machine,
    learned: tuple[NDArray[np.int32], NDArray[np.float64]],
    held_out: tuple[NDArray[np.int32], NDArray[np.float64]],
    options: FactorisationOptions,
    seed: int,
) -> tuple[float, int, Machine]:
    """(log loss of the held-out rows, epoch, machine) where the log loss was least."""
    sums, rng = no_steps(machine), np.random.default_rng(seed)
    best, best_epoch, kept = np.inf, 0, machine
    for epoch in range(1, options.epochs_max + 1):
        learn(machine, sums, *learned, options.learning_rate, options.penalty, rng)
        found = np.clip(_predict(machine, held_out[0]), 1e-7, 1 - 1e-7)
        happened = held_out[1] > 0
        loss = float(-np.where(happened, np.log(found), np.log1p(-found)).mean())
        if loss < best:
            best, best_epoch = loss, epoch
            kept = Machine(*(part.copy() for part in machine))
        if epoch - best_epoch >= options.patience:
            break
    return best, best_epoch, kept


def _machine(
    labels: NDArray[np.float64],
    size: int,
    options: FactorisationOptions,
    seed: int,
    start: Machine | None,
) -> Machine:
    """Parameters that answer the overall rate, or a copy of `start` with that rate as its bias."""
    if start is not None:
        return Machine(bias_of(labels.mean()), start.weights.copy(), start.factors.copy())
    rng = np.random.default_rng(seed)
    return fresh(labels.mean(), size, options.rank, options.scale, rng)


def _predict(machine: Machine, features: NDArray[np.int32]) -> NDArray[np.float64]:
    """Probabilities [N]."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits(machine, features).astype(np.float64))))


def _kinds(labels: NDArray[np.float64]) -> int:
    return len(np.unique(labels))
