"""For whom, and for what, does the model work? AUC by the viewer's activity and the post's age."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix.report import pictures, statistics
from phoenix.report.html import Section, grid, heading, paragraph, picture, table
from phoenix.report.judged import MAKE_ONE, Judged
from phoenix.report.statistics import Slice
from phoenix.report.wording import ages, count, estimate, whole

CHIEF_HEADS = 3  # heads with enough positives to be split into five parts
TEXT = (
    "The rows in about five equal parts. Bars are 95 % intervals; parts that overlap are not told "
    "apart by this many rows. AUC counts pairs from different viewers, so a part with viewers who "
    "differ in how much they act is easier."
)


def slices(judged: Judged | None) -> Section:
    """AUC of the chief heads by history length and by age."""
    anchor, title = "slices", "For whom and for what it works"
    if judged is None:
        return Section(anchor, title, missing=(f"No AUC by activity or age: {MAKE_ONE}.",))
    chief = judged.chief(CHIEF_HEADS)
    if not chief:
        return Section(anchor, title, missing=(NO_HEAD,))
    activity = [_by_activity(judged, action) for action in chief]
    body = [paragraph(TEXT), heading("By the viewer's activity"), grid(activity)]
    missing: tuple[str, ...] = ()
    if _known_ages(judged).any():
        body += [heading("By the post's age"), grid(_by_age(judged, a) for a in chief)]
    else:
        missing = (NO_AGE,)
    return Section(anchor, title, "\n".join(body), missing)


NO_HEAD = "No AUC by activity or age: no action both happened and failed to happen in these rows."
NO_AGE = (
    "No AUC by post age: no row's post has a known age. Ages come from snowflake ids, or from the "
    "upload dates of the data set's features; evaluate again with them."
)


def _by_activity(judged: Judged, action: str) -> str:
    values = judged.rows.history_count.astype(np.float64)
    labels, served = judged.labels(action), judged.served(action)
    parts = statistics.slices(values, labels, served, whole)
    return _picture(f"activity-{action}", action, parts, "events in the viewer's history")


def _by_age(judged: Judged, action: str) -> str:
    known = _known_ages(judged)
    labels, served = judged.labels(action), judged.served(action)
    values = judged.rows.post_age_seconds
    parts = statistics.slices(values[known], labels[known], served[known], ages)
    if not known.all():
        parts.append(statistics.slice_of("unknown", labels[~known], served[~known]))
    return _picture(f"age-{action}", action, parts, "age of the post")


def _known_ages(judged: Judged) -> NDArray[np.bool_]:
    values = judged.rows.post_age_seconds
    return np.isfinite(values) & (values >= 0)


def _picture(name: str, action: str, parts: list[Slice], x_name: str) -> str:
    text = f"AUC of {action} by {x_name}: " + "; ".join(
        f"{_flat(part.label)}: {estimate(part.auc.value, part.auc.stderr, 3)}" for part in parts
    )
    svg = pictures.by_slice(name, action, parts, x_name, text)
    rows = [
        (_flat(p.label), count(p.rows), count(p.positives), estimate(p.auc.value, p.auc.stderr))
        for p in parts
    ]
    caption = f"AUC of {action} by {x_name}, with 95 % intervals."
    return picture(svg, caption, table((x_name, "rows", "positives", "AUC ± s.e."), rows))


def _flat(label: str) -> str:
    return label.replace("\n", "")
