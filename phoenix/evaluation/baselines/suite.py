"""All baselines on one task, by name; each answers [N, A], nan where it cannot tell an action."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.evaluation.baselines import boosted, cooccurrence, factorisation
from phoenix.evaluation.baselines.examples import Task
from phoenix.evaluation.baselines.factorisation import FactorisationOptions
from phoenix.evaluation.baselines.rates import Rates

BASELINES = ("popularity", "user_item", "co_occurrence", "fm", "lightgbm")  # cheapest first
CO_OCCURRENCE_ACTION = "long_view"  # of the set's actions the one with most to count
PROBABILITIES = frozenset({"popularity", "user_item", "fm", "lightgbm"})  # others only order


@dataclass(frozen=True, eq=False)
class Answers:
    """One baseline's answers for the asked rows."""

    scores: NDArray[np.float64]  # [N, A], nan: cannot tell
    are_probabilities: bool
    seconds: float
    details: dict[str, Any]  # what was chosen by early stopping, by action


def run_baselines(
    task: Task,
    action_names: Sequence[str],
    names: Sequence[str],
    seed: int,
    told: Callable[[str], None] = lambda _: None,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> dict[str, Answers]:
    """The named ones, in the order of BASELINES; `told` gets a line before each begins."""
    answers = {}
    for name in check_names(names):
        told(f"baseline {name}")
        started = monotonic_s()
        scores, details = _ANSWER[name](task, tuple(action_names), seed)
        seconds = monotonic_s() - started
        answers[name] = Answers(scores, name in PROBABILITIES, round(seconds, 1), details)
    return answers


def check_names(names: Sequence[str]) -> list[str]:
    """In the order of BASELINES; ValueError names an unknown one."""
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise ValueError(f"no baseline {unknown[0]!r}; there are {', '.join(BASELINES)}")
    return [name for name in BASELINES if name in names]


_Answered = tuple[NDArray[np.float64], dict[str, Any]]


def _by_rates(task: Task, pairs: bool) -> _Answered:
    scores = np.full(task.asked.labels.shape, np.nan)
    for action in range(len(scores.T)):
        told = ~np.isnan(task.known.labels[:, action])
        rates = Rates(
            task.known.user_ids[told],
            task.known.video_ids[told],
            task.known.labels[told, action].astype(np.float32),
        )
        asked = task.asked
        scores[:, action] = (
            rates.of_pairs(asked.user_ids, asked.video_ids)
            if pairs
            else rates.of_items(asked.video_ids)
        )
    return scores, {}


def _popularity(task: Task, action_names: tuple[str, ...], seed: int) -> _Answered:
    return _by_rates(task, pairs=False)


def _user_item(task: Task, action_names: tuple[str, ...], seed: int) -> _Answered:
    return _by_rates(task, pairs=True)


def _co_occurrence(task: Task, action_names: tuple[str, ...], seed: int) -> _Answered:
    """One score for all actions: what viewers of the same videos viewed."""
    found = cooccurrence.scores(task, action_names.index(CO_OCCURRENCE_ACTION))
    return np.repeat(found[:, None], len(action_names), axis=1), {}


def _factorisation(task: Task, action_names: tuple[str, ...], seed: int) -> _Answered:
    fitted = factorisation.fit_predict(task, action_names, FactorisationOptions(), seed)
    scores = np.full(task.asked.labels.shape, np.nan)
    for name, found in fitted.items():
        scores[:, action_names.index(name)] = found.probabilities
    return scores, {
        "epochs": {name: found.epochs for name, found in fitted.items()},
        "began_with": {name: found.began_with for name, found in fitted.items()},
    }


def _boosted(task: Task, action_names: tuple[str, ...], seed: int) -> _Answered:
    scores = np.full(task.asked.labels.shape, np.nan)
    rounds: dict[str, int] = {}
    for action, name in enumerate(action_names):
        fitted = boosted.fit_predict(task, action_names, action, seed)
        if fitted is not None:
            scores[:, action], rounds[name] = fitted
    return scores, {"rounds": rounds}


_ANSWER: dict[str, Callable[[Task, tuple[str, ...], int], _Answered]] = {
    "popularity": _popularity,
    "user_item": _user_item,
    "co_occurrence": _co_occurrence,
    "fm": _factorisation,
    "lightgbm": _boosted,
}
