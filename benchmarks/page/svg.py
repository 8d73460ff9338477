"""Two kinds of picture as plain SVG text: curves on logarithmic axes, and ranges one under another.

Nothing is drawn that needs a library, so that the same figures give the same bytes everywhere and
a test can hold the page to its data. All figures are positive: both axes are logarithmic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50  # the legend stands in the right margin
NAMES_WIDTH, ROW_HEIGHT = 290, 22
COLOURS = ("#0b62a4", "#d1600a", "#2e8540", "#8a2b8f", "#9b2226", "#5f6368", "#00798c", "#b8860b")
FONT = 'font-family="system-ui, sans-serif" font-size="12"'

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic axis: values low..high to pixels start..end."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> Scale:
        """Somewhat wider than the values; ValueError when one is not positive."""
        if not values or min(values) <= 0:
            raise ValueError(f"a logarithmic axis wants positive figures, got {sorted(values)[:3]}")
        return cls(min(values) / 1.3, max(values) * 1.3, start, end)

    def at(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """1, 2 and 5 of every decade in sight; the decades alone when there are many."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = (1, 2, 5) if last - first <= 3 else (1,)
        every = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
        return [tick for tick in every if self.low <= tick <= self.high]


def curves(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """One line a series; a series of one point is a dot."""
    every = [point for points in series.values() for point in points]
    x = Scale.over([one for one, _ in every], LEFT, WIDTH - RIGHT)
    y = Scale.over([one for _, one in every], HEIGHT - BOTTOM, TOP)
    parts = [*_x_axis(x, TOP, HEIGHT - BOTTOM, x_label), *_y_axis(y, y_label)]
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        at = [(x.at(one), y.at(other)) for one, other in sorted(points)]
        path = " ".join(f"{left},{top}" for left, top in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [_dot(left, top, colour) for left, top in at]
        parts += _legend(number, name, colour)
    return _picture(title, WIDTH, HEIGHT, parts)


def ranges(title: str, x_label: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """(name, from, mark, to) a row: a bar from the least to the p99 with a dot at the median."""
    bottom = TOP + ROW_HEIGHT * len(rows)
    x = Scale.over([value for _, *row in rows for value in row], NAMES_WIDTH, WIDTH - 60)
    parts = _x_axis(x, TOP, bottom, x_label)
    for number, (name, low, mark, high) in enumerate(rows):
        top = TOP + ROW_HEIGHT * (number + 0.5)
        parts.append(_text(NAMES_WIDTH - 8, top + 4, name, anchor="end"))
        parts.append(_line(x.at(low), top, x.at(high), top, COLOURS[0], width=3, opacity=0.4))
        parts.append(_dot(x.at(mark), top, COLOURS[0]))
        parts.append(_text(x.at(high) + 8, top + 4, f"{mark:.3g}"))
    return _picture(title, WIDTH, bottom + BOTTOM, parts)


def _picture(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="{escape(title, quote=True)}" {FONT}>'
    )
    paper = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([head, paper, _text(16, 22, title, weight="bold"), *parts, "</svg>", ""])


def _x_axis(x: Scale, top: float, bottom: float, label: str) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(_line(x.at(tick), top, x.at(tick), bottom, "#dddddd"))
        parts.append(_text(x.at(tick), bottom + 18, short(tick), anchor="middle"))
    parts.append(_text((x.start + x.end) / 2, bottom + 38, label, anchor="middle"))
    return parts


def _y_axis(y: Scale, label: str) -> list[str]:
    parts = []
    for tick in y.ticks():
        parts.append(_line(LEFT, y.at(tick), WIDTH - RIGHT, y.at(tick), "#dddddd"))
        parts.append(_text(LEFT - 8, y.at(tick) + 4, short(tick), anchor="end"))
    parts.append(_text(LEFT, TOP - 4, label))
    return parts


def _legend(number: int, name: str, colour: str) -> list[str]:
    top = TOP + 10 + 18 * number
    return [_dot(WIDTH - RIGHT + 16, top, colour), _text(WIDTH - RIGHT + 26, top + 4, name)]


def short(value: float) -> str:
    """1500 → 1.5k; 20000000 → 20M."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{suffix}"
    return f"{value:g}"


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1, opacity: float = 1
) -> str:
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"'
        f' stroke-width="{width}" opacity="{opacity}"/>'
    )


def _dot(left: float, top: float, colour: str) -> str:
    return f'<circle cx="{left}" cy="{top}" r="4" fill="{colour}"/>'


def _text(left: float, top: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    place = f'x="{left}" y="{top}" text-anchor="{anchor}" font-weight="{weight}"'
    return f"<text {place}>{escape(text)}</text>"
