"""The pictures of a report, each one function from numbers to an <svg>.

Lines differ in shape as well as in colour, and the page puts every picture's numbers beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from phoenix.report.statistics import Z95, Floats, Histogram, Operating, Reliability, Slice
from phoenix.report.svg import FIRST, GRID, INK, MUTED, SECOND, SERIES, panel, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))  # one for each of SERIES
SHARE_TICKS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)  # of a log-odds axis
AXIS_ROOM = 1.06  # beyond the last point of a reliability curve
TICKS_MAX = 5  # of an axis of percentages, whose labels are long
EQUAL_AXES_RATIO = 2.0  # below, both axes of a reliability curve are as long as the longer
ROW_INCHES, ROWS_MARGIN_INCHES = 0.26, 0.9  # height of a bar, of axis and title


def lines(
    name: str, title: str, x: Floats, series: Mapping[str, Floats], x_label: str, label: str,
    log: bool = False,
) -> str:  # fmt: skip
    """Up to four curves over one axis; gaps where a value is missing (nan)."""
    with panel(name) as (figure, [axes]):
        for index, (line, values) in enumerate(series.items()):
            known = np.isfinite(values)
            style = DASHES[index % len(DASHES)]
            colour = SERIES[index % len(SERIES)]
            axes.plot(x[known], values[known], color=colour, linestyle=style, label=line)
        if log:
            axes.set_yscale("log")
        axes.set_xlabel(x_label)
        axes.set_title(title, loc="left")
        if len(series) > 1:
            axes.legend()
        return render(figure, label)


def calibration(
    name: str, title: str, before: Reliability | None, after: Reliability, label: str
) -> str:
    """Predicted against observed; on the line they agree. Bars: 95 % of the share in a bin."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    curves = [after] if before is None else [after, before]
    right = min(AXIS_ROOM * max(float(curve.predicted.max()) for curve in curves), 1.0)
    top = min(AXIS_ROOM * max(float(curve.high.max()) for curve in curves), 1.0)
    if max(right, top) < EQUAL_AXES_RATIO * min(right, top):
        right = top = max(right, top)
    with panel(name) as (figure, [axes]):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        if before is not None:
            axes.plot(
                before.predicted, before.observed, color=SECOND, linestyle=DASHES[1], marker="s",
                markerfacecolor="none", markersize=4, linewidth=1.2, label="before calibration",
            )  # fmt: skip
        spread = (after.observed - after.low, after.high - after.observed)
        axes.errorbar(
            after.predicted, after.observed, yerr=np.maximum(spread, 0.0), color=FIRST, marker="o",
            elinewidth=1.0, label="served" if before is None else "served, after calibration",
        )  # fmt: skip
        axes.set_xlim(0, right)
        axes.set_ylim(0, top)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=TICKS_MAX))
            axis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("predicted")
        axes.set_ylabel("observed")
        axes.set_title(title, loc="left")
        if before is not None:
            axes.legend(loc="upper left")
        return render(figure, label)


def scores(name: str, title: str, shares: Histogram, label: str) -> str:
    """Predictions of rows with and without the action; the further apart, the better."""
    with panel(name) as (figure, [axes]):
        for values, colour, line, text in (
            (shares.negatives, SECOND, DASHES[1], "not taken"),
            (shares.positives, FIRST, DASHES[0], "taken"),
        ):
            axes.stairs(values, shares.edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(
                values, shares.edges, color=colour, linestyle=line, label=text, linewidth=1.6
            )
        _share_axis(axes, float(shares.edges[0]), float(shares.edges[-1]))
        axes.set_xlabel("predicted probability (log-odds scale)")
        axes.set_ylabel("share of the rows")
        axes.set_title(title, loc="left")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, borderaxespad=0.0)
        return render(figure, label)


def by_slice(name: str, title: str, parts: Sequence[Slice], x_label: str, label: str) -> str:
    """AUC of each part of the rows with its 95 % interval."""
    with panel(name) as (figure, [axes]):
        at = np.arange(len(parts))
        values = np.array([part.auc.value for part in parts])
        errors = np.nan_to_num(np.array([part.auc.stderr for part in parts]) * Z95)
        axes.axhline(0.5, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        axes.errorbar(at, values, yerr=errors, color=FIRST, marker="o", linestyle="-", capsize=3)
        low = np.nanmin(values - errors, initial=0.5)
        high = np.nanmax(values + errors, initial=0.6)
        axes.set_ylim(max(low - 0.03, 0.0), min(high + 0.03, 1.02))
        axes.set_xticks(at, [part.label for part in parts])
        axes.set_xlim(-0.4, len(parts) - 0.6)
        axes.set_xlabel(x_label)
        axes.set_ylabel("AUC")
        axes.set_title(title, loc="left")
        return render(figure, label)


def receiver(name: str, curves: Mapping[str, Operating], label: str) -> str:
    """ROC of up to four heads."""
    with panel(name) as (figure, [axes]):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        for index, (head, curve) in enumerate(curves.items()):
            axes.plot(
                np.append(0, curve.false_positive_rate), np.append(0, curve.recall),
                color=SERIES[index], linestyle=DASHES[index], label=head,
            )  # fmt: skip
        axes.set_xlabel("share of the negatives let through")
        axes.set_ylabel("share of the positives found")
        axes.set_title("ROC", loc="left")
        axes.legend(loc="lower right")
        return render(figure, label)


def precision(name: str, curves: Mapping[str, Operating], label: str) -> str:
    """Precision against recall of up to four heads."""
    with panel(name) as (figure, [axes]):
        for index, (head, curve) in enumerate(curves.items()):
            axes.plot(
                curve.recall, curve.precision, color=SERIES[index], linestyle=DASHES[index],
                label=head,
            )  # fmt: skip
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_title("Precision and recall", loc="left")
        axes.legend(loc="upper right")
        return render(figure, label)


def dots(
    name: str, title: str, values: Mapping[str, float], errors: Mapping[str, float], x_label: str,
    label: str, own: str,
) -> str:  # fmt: skip
    """A value with its 95 % interval a line, best first; `own` is ours among them."""
    names = sorted(values, key=lambda line: values[line])
    with _rows(name, title, names, x_label) as (figure, axes):
        for at, line in enumerate(names):
            error = Z95 * errors.get(line, math.nan)
            axes.errorbar(
                [values[line]], [at], xerr=None if math.isnan(error) else [error],
                color=FIRST if line == own else MUTED, marker="o" if line == own else "s",
                markersize=7 if line == own else 5, elinewidth=1.4,
            )  # fmt: skip
        return render(figure, label)


def bars(name: str, title: str, gains: Mapping[str, float], x_label: str, label: str) -> str:
    """Bars from zero to both sides, in the given order from the top."""
    names = list(gains)[::-1]
    with _rows(name, title, names, x_label) as (figure, axes):
        lengths = [gains[line] for line in names]
        colours = [FIRST if length >= 0 else SECOND for length in lengths]
        axes.barh(np.arange(len(names)), lengths, color=colours, height=0.62)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        return render(figure, label)


@contextmanager
def _rows(
    name: str, title: str, names: Sequence[str], x_label: str
) -> Iterator[tuple[Figure, Axes]]:
    """Axes with one named line per row."""
    height = ROWS_MARGIN_INCHES + ROW_INCHES * len(names)
    with panel(name, height_inches=height) as (figure, [axes]):
        axes.set_yticks(np.arange(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlabel(x_label)
        axes.set_title(title, loc="left")
        yield figure, axes


def _share_axis(axes: Axes, low: float, high: float) -> None:
    """Probabilities at their log-odds."""
    ticks = [t for t in SHARE_TICKS if low <= math.log(t / (1 - t)) <= high]
    axes.set_xticks([math.log(t / (1 - t)) for t in ticks], [f"{100 * t:g} %" for t in ticks])
    axes.grid(axis="x", color=GRID)
