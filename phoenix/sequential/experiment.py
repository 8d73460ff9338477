"""One measurement: the untrained rows and the model, for several seeds, in one run.

Rows:

    popularity, co-occurrence count, co-occurrence rate   counted on training + validation
    model           trained on the training interactions, its epoch chosen on validation
    model, refit    trained anew on training + validation for as many epochs (with `refit`)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from phoenix.sequential.config import SequentialConfig, SequentialTraining
from phoenix.sequential.fitting import EpochReport, Fit, Params, Step, fit, make_step
from phoenix.sequential.model import SequentialModel
from phoenix.sequential.protocol import Fold, Protocol
from phoenix.sequential.ranking import Ranking, Scorer, rank
from phoenix.sequential.scorers import cooccurrence_scorers, model_scorer, popularity_scorer

Metrics = dict[str, float]
Say = Callable[[str], None]


@dataclass(slots=True)
class Row:
    """One line of the table; one set of metrics a seed (the untrained: one in all)."""

    name: str
    metrics: list[Metrics] = field(default_factory=list)

    @property
    def mean(self) -> Metrics:
        return {key: float(np.mean([m[key] for m in self.metrics])) for key in self.metrics[0]}

    @property
    def spread(self) -> Metrics:
        """Standard deviation between seeds, of n - 1; nothing for one seed."""
        if len(self.metrics) < 2:
            return {}
        return {
            key: float(np.std([m[key] for m in self.metrics], ddof=1)) for key in self.metrics[0]
        }


@dataclass(slots=True)
class Trained:
    """One seed's training."""

    seed: int
    fit: Fit
    refit: Fit | None
    eval_seconds: float

    @property
    def final(self) -> Fit:
        return self.refit or self.fit


@dataclass(slots=True)
class Result:
    protocol: Protocol
    config: SequentialConfig
    training: SequentialTraining
    rows: list[Row]
    trained: list[Trained] = field(default_factory=list)
    parameters: int = 0


def run(
    protocol: Protocol,
    config: SequentialConfig,
    training: SequentialTraining,
    seeds: Sequence[int],
    *,
    refit: bool = False,
    untrained: bool = True,
    say: Say = lambda line: None,
) -> Result:
    """Measure every row; `say` gets a line of progress for each epoch."""
    model = SequentialModel(config)
    result = Result(protocol, config, training, untrained_rows(protocol) if untrained else [])
    rows = [Row("model"), *([Row("model, refit")] if refit else [])]
    step = make_step(model, training)
    for seed in seeds:
        trained = _train(protocol, model, training, step, seed, refit, say)
        result.trained.append(trained)
        for row, fitted in zip(rows, (trained.fit, trained.refit), strict=False):
            assert fitted is not None
            row.metrics.append(_measured(protocol, protocol.test, model, fitted.params))
            say(f"seed {seed}, {row.name}: {shown(row.metrics[-1])}")
    result.rows += rows
    result.parameters = sum(x.size for x in jax.tree.leaves(result.trained[0].fit.params))
    return result


def untrained_rows(protocol: Protocol) -> list[Row]:
    """Popularity and co-occurrence on all that is known before the test."""
    known, items = protocol.train_and_validation, protocol.interactions.num_items
    scorers: dict[str, Scorer] = {
        "popularity": popularity_scorer(known, items),
        **cooccurrence_scorers(known, items, protocol.ordered),
    }
    test = protocol.test
    return [
        Row(name, [protocol.metrics(rank(scorer, test.histories, test.targets))])
        for name, scorer in scorers.items()
    ]


def first_ranking(result: Result, top: int) -> tuple[Ranking, str]:
    """The first seed's best items of every user, and which row they belong to."""
    trained, test = result.trained[0], result.protocol.test
    scorer = model_scorer(SequentialModel(result.config), trained.final.params)
    name = result.rows[-1].name
    return rank(scorer, test.histories, test.targets, top), f"{name}, seed {trained.seed}"


def _train(
    protocol: Protocol,
    model: SequentialModel,
    training: SequentialTraining,
    step: Step,
    seed: int,
    refit: bool,
    say: Say,
) -> Trained:
    eval_seconds = 0.0

    def validate(params: Params) -> Metrics:
        nonlocal eval_seconds
        started = time.monotonic()
        metrics = _measured(protocol, protocol.validation, model, params)
        eval_seconds += time.monotonic() - started
        return metrics

    chosen = fit(
        model, protocol.train, training, seed, validate=validate, best_by=protocol.primary,
        step=step, progress=lambda report: say(_line(f"seed {seed}", report)),
    )  # fmt: skip
    again = None
    if refit:
        again = fit(
            model, protocol.train_and_validation, training, seed, stop_after=chosen.best_epoch,
            step=step, progress=lambda report: say(_line(f"seed {seed}, refit", report)),
        )  # fmt: skip
    return Trained(seed, chosen, again, eval_seconds)


def _measured(protocol: Protocol, fold: Fold, model: SequentialModel, params: Params) -> Metrics:
    return protocol.metrics(rank(model_scorer(model, params), fold.histories, fold.targets))


def _line(name: str, report: EpochReport) -> str:
    line = (
        f"{name}: epoch {report.epoch}/{report.epochs}  step {report.step}  "
        f"loss {report.loss:.4f}  {report.train_seconds:.0f} s"
    )
    if report.validation is None:
        return line
    return f"{line}  validation {shown(report.validation)}{'  *' if report.best else ''}"


def shown(metrics: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value:.4f}" for key, value in metrics.items())
