"""The result of a measurement as a JSON object and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from phoenix.sequential.experiment import Result, Row, Trained

NAME_WIDTH = 22


def as_json(result: Result) -> dict[str, Any]:
    """Everything that the text says, unrounded, with the configuration and the curves."""
    return {
        "protocol": result.protocol.name,
        "data": result.protocol.facts,
        "rows": [
            {"name": row.name, **row.mean, "spread": row.spread, "seeds": row.metrics}
            for row in result.rows
        ],
        "parameters": result.parameters,
        "trainings": [_training(trained) for trained in result.trained],
        "model": asdict(result.config),
        "training": asdict(result.training),
    }


def as_text(result: Result) -> str:
    return "\n".join(
        [*_facts(result), "", *table(result.rows), "", *_trainings(result), *_notes(result)]
    )


def table(rows: list[Row]) -> Iterator[str]:
    """One line a row; mean ± standard deviation where there are several seeds."""
    names = list(rows[0].mean)
    yield f"{'':<{NAME_WIDTH}}" + "".join(f"{name:>18}" for name in names)
    for row in rows:
        mean, spread = row.mean, row.spread
        cells = (
            f"{mean[name]:.4f}" + (f" ± {spread[name]:.4f}" if spread else "") for name in names
        )
        yield f"{row.name:<{NAME_WIDTH}}" + "".join(f"{cell:>18}" for cell in cells)


def _facts(result: Result) -> Iterator[str]:
    facts = result.protocol.facts
    yield (
        f"{result.protocol.name}: {facts['users']:,} users, {facts['items']:,} items, "
        f"{facts['interactions']:,} interactions; {facts['users_measured']:,} users measured, "
        "over the full catalogue, seen items left out"
    )
    notes = {
        "users_too_short": "users with fewer than 3 interactions: trained on, not measured",
        "users_without_test_items": "users without test items: trained on, not measured",
        "test_users_without_training": "test users without training items: an empty history",
        "test_items_seen_before": "test items that their user took before: counted as misses",
    }
    for key, note in notes.items():
        if facts.get(key):
            yield f"{facts[key]:,} {note}"


def _trainings(result: Result) -> Iterator[str]:
    yield f"{result.parameters:,} parameters"
    for trained in result.trained:
        for name, fit in (("", trained.fit), (", refit", trained.refit)):
            if fit is not None:
                yield (
                    f"seed {trained.seed}{name}: {fit.train_seconds:.0f} s of training, "
                    f"{fit.tokens_per_second:,.0f} tokens/s, {fit.epochs} epochs, "
                    f"{fit.steps:,} steps; epoch {fit.best_epoch} kept"
                )


def _notes(result: Result) -> Iterator[str]:
    yield "model: trained without validation and test items; its epoch is chosen on validation"
    if result.trained[0].refit is not None:
        yield "model, refit: trained anew on training + validation for as many epochs"


def _training(trained: Trained) -> dict[str, Any]:
    fits = {"fit": trained.fit, "refit": trained.refit}
    return {
        "seed": trained.seed,
        "validation_seconds": round(trained.eval_seconds, 3),
        **{
            name: {
                "train_seconds": round(fit.train_seconds, 3),
                "tokens_per_second": round(fit.tokens_per_second, 1),
                "epochs": fit.epochs,
                "best_epoch": fit.best_epoch,
                "steps": fit.steps,
                "validation": fit.validation,
                "curve": fit.curve,
            }
            for name, fit in fits.items()
            if fit is not None
        },
    }
