"""Ablations: one bar a choice, one picture a measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phoenix.report import pictures
from phoenix.report.ablations import Ablations
from phoenix.report.html import Section, grid, heading, paragraph, picture, table
from phoenix.report.wording import estimate, number

TEXT = (
    "The base against the base with one change, trained with the same budget: a bar to the left is "
    "what is lost by the change, one to the right what is gained."
)
MISSING = (
    "No ablations: foryou eval kuairand --ablate all --json > ablations.json (or foryou eval "
    "sequential) makes them, and foryou report --ablations ablations.json draws them."
)


def choices(files: Sequence[Ablations]) -> Section:
    """Every file under its name."""
    anchor, title = "ablations", "What each choice brings"
    if not files:
        return Section(anchor, title, missing=(MISSING,))
    body = [paragraph(TEXT)]
    for file in files:
        if len(files) > 1:
            body.append(heading(file.source))
        body.append(grid(_picture(file, measure) for measure in file.measures))
    return Section(anchor, title, "\n".join(body))


def _picture(file: Ablations, measure: str) -> str:
    rows = [row for row in file.rows if measure in row.gains]
    gains = {row.name: row.gains[measure] for row in rows}
    errors = {row.name: row.errors[measure] for row in rows if measure in row.errors}
    text = f"Gain in {measure}: " + "; ".join(
        f"{name} {estimate(gain, errors.get(name))}" for name, gain in gains.items()
    )
    svg = pictures.bars(
        f"ablation-{file.source}-{measure}", measure, gains, errors, "difference to the base", text
    )
    numbers = table(
        ("change", measure, "difference"),
        [
            (
                row.name,
                number(row.values.get(measure, math.nan)),
                estimate(row.gains[measure], row.errors.get(measure)),
            )
            for row in rows
        ],
    )
    return picture(svg, f"Differences in {measure} by each change.", numbers)
