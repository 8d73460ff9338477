"""Matplotlib figures as inline SVG that follows the page: its colours, its font, its width.

A figure is drawn in placeholder colours that become CSS variables, so that one picture serves
light, dark and print. Text stays text. The same figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, SURFACE = "#101011", "#101012", "#101013", "#101014"
FIRST, SECOND, THIRD, FOURTH = "#101021", "#101022", "#101023", "#101024"
VARIABLES = {
    INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", SURFACE: "var(--surface)",
    FIRST: "var(--first)", SECOND: "var(--second)", THIRD: "var(--third)",
    FOURTH: "var(--fourth)",
}  # fmt: skip
SERIES = (FIRST, SECOND, THIRD, FOURTH)
WIDTH_INCHES, HEIGHT_INCHES = 4.6, 3.1  # a panel that is legible at the width of a phone

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "patch.linewidth": 0.0,
    "figure.facecolor": "none",
    "path.simplify": True,
}


@contextmanager
def panel(
    name: str, columns: int = 1, height_inches: float = HEIGHT_INCHES
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with axes side by side, in the page's style; `name` makes its inner ids its own."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH_INCHES * columns, height_inches), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
        yield figure, list(axes)


def render(figure: Figure, label: str) -> str:
    """One <svg> element; `label` says in words what the picture shows. Within `panel` only."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = _without_unused_ids(text)
    text = re.sub(r"\bfont: ([^;\"]*?[\d.]+px) [^;\"]*", r"font: \1 var(--font)", text)
    for placeholder, variable in VARIABLES.items():
        text = text.replace(placeholder, variable)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None  # matplotlib always writes one
    head = f'<svg {box.group()} role="img" aria-label="{escape(label, quote=True)}">'
    return head + re.sub(r"\n\s*", "\n", text[text.index(">") + 1 :]).strip()


def _without_unused_ids(text: str) -> str:
    """Ids such as axes_1 stand in every picture; a page may hold each once."""
    used = set(re.findall(r"#([\w-]+)", text))
    return re.sub(
        r' id="([^"]*)"', lambda match: match.group() if match.group(1) in used else "", text
    )
