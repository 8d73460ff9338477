"""A checkpoint's report as one HTML page: `write_report` makes it, the chapters are listed here.

    model = read_facts(directory)
    page = model_report(model, read_judged(model, None), [], now_ms)

The same input gives the same bytes, but for the date that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phoenix.report.ablations import Ablations
from phoenix.report.facts import ModelFacts
from phoenix.report.html import Page, Section, page
from phoenix.report.judged import RANKER, Judged
from phoenix.report.ranked import with_curve
from phoenix.report.sections.about import about
from phoenix.report.sections.choices import choices
from phoenix.report.sections.heads import reliability, scores
from phoenix.report.sections.learning import learning
from phoenix.report.sections.quality import head_of, quality, ranked
from phoenix.report.sections.slices import slices
from phoenix.report.wording import count, moment, number, short, span

TILE_HEADS = 2  # heads whose figures stand at the top

Tiles = list[tuple[str, str, str]]


def model_report(
    model: ModelFacts,
    judged: Judged | None,
    ablations: Sequence[Ablations],
    now_ms: int,
    result: Mapping[str, Any] = MappingProxyType({}),
) -> Page:
    """All chapters; what is missing is named in each, and together in `missing`.

    `judged` is a ranker's evaluation, `result` any other model's (`phoenix.report.ranked`).
    """
    return Page(
        title=f"Model report: {model.kind}",
        subtitle=f"{model.model_version}, version {model.path.name}",
        tiles=[*_tiles(model), *(_head_tiles(judged) if judged is not None else [])],
        sections=[
            *(_of_probabilities(judged) if model.kind == RANKER else [ranked(model, result)]),
            learning(with_curve(model, result)),
            choices(ablations),
            about(model),
        ],
        footer=f"Made by foryou report on {moment(now_ms)}.",
    )


def _of_probabilities(judged: Judged | None) -> list[Section]:
    return [quality(judged), reliability(judged), scores(judged), slices(judged)]


def write_page(content: Page, path: Path) -> None:
    """The page as a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(page(content), encoding="utf-8")
    unfinished.replace(path)


def _tiles(model: ModelFacts) -> Tiles:
    seconds = _elapsed(model.meta)
    time = "" if math.isnan(seconds) else f"in {span(seconds)}"
    tiles = [("steps of training", count(model.step), time)]
    rows = model.meta.get("targets")
    if isinstance(rows, int):
        tiles.append(("rows trained on", short(rows), _of_all(model.meta)))
    if model.parameters:
        total = sum(model.parameters.values())
        tables = sum(size for name, size in model.parameters.items() if name.startswith("table"))
        tiles.append(("parameters", short(total), f"{short(total - tables)} outside the tables"))
    return tiles


def _head_tiles(judged: Judged) -> Tiles:
    chief = judged.chief(TILE_HEADS)
    found = {action: head_of(judged, action) for action in chief}
    return [
        (
            f"AUC of {action}",
            number(found[action].auc.value, 3),
            f"GAUC {number(found[action].gauc.value, 3)}, calibration error "
            f"{number(found[action].error.value, 4)}",
        )
        for action in chief
    ]


def _of_all(meta: Mapping[str, Any]) -> str:
    rows = meta.get("impressions")
    return f"of {short(rows)}; the others are history" if isinstance(rows, int) else ""


def _elapsed(meta: Mapping[str, Any]) -> float:
    metrics = meta.get("metrics")
    value = metrics.get("elapsed_seconds") if isinstance(metrics, dict) else None
    return float(value) if isinstance(value, int | float) else math.nan
