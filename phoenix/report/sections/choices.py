"""Ablations: one bar a choice, one picture a measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phoenix.report import pictures
from phoenix.report.ablations import Ablations
from phoenix.report.html import Section, grid, heading, paragraph, picture, table
from phoenix.report.wording import number

MEASURES_MAX = 4  # pictures of one file; the measures of a set go together

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
        drawn, others = file.measures[:MEASURES_MAX], file.measures[MEASURES_MAX:]
        body += [heading(file.source), grid(_picture(file, measure) for measure in drawn)]
        if others:
            body.append(paragraph(f"Not drawn, but in {file.source}: {', '.join(others)}."))
    return Section(anchor, title, "\n".join(body))


def _picture(file: Ablations, measure: str) -> str:
    gains = {row.name: row.gains[measure] for row in file.rows if measure in row.gains}
    best = max(gains, key=lambda name: gains[name])
    worst = min(gains, key=lambda name: gains[name])
    text = (
        f"{measure} by {len(gains)} changes: the most is lost by {worst} ({gains[worst]:+.4f}), "
        f"the most gained by {best} ({gains[best]:+.4f})"
    )
    svg = pictures.bars(
        f"ablation-{file.source}-{measure}", measure, gains, "difference to the base", text
    )
    rows = [
        (
            f"{row.name}: {row.what}" if row.what else row.name,
            number(row.values.get(measure, math.nan)),
            f"{row.gains[measure]:+.4f}",
        )
        for row in file.rows
        if measure in row.gains
    ]
    return picture(svg, f"{text}.", table(("change", measure, "difference"), rows))
