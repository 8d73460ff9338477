"""Before a context's layers: its tokens, and what candidates meet of it beside them.

Glossary as in `phoenix.fused.ends`. The same as `phoenix.tokens` and `phoenix.profile` build of it,
which training and other models use; tests hold them together. An action's row and the dwell's
hidden units go through one matrix straight to the token, the product of both of theirs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phoenix.fused.elementwise import gelu, place, rounded
from phoenix.fused.ends import Ends, Facts, History, Opening, Viewer
from phoenix.fused.facts import bucket, copy_row, known
from phoenix.fused.instructions import helper
from phoenix.fused.numbers import bfloat16
from phoenix.fused.operands import multiply_halves, panels
from phoenix.fused.steps import Floats, Scratch
from phoenix.ranker import PROFILE_SCALE

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_SCALE = np.float32(PROFILE_SCALE)


@helper
def make_context(
    history: History, opening: Opening, ends: Ends, viewer: Viewer, taste: Floats, scratch: Scratch,
    facts: Facts,
) -> None:  # fmt: skip
    """→ the hidden rows of all tokens, and all of `viewer` but its keys and values.

    `taste` [M, X + E] is room.
    """
    _open_user(history, opening, viewer, taste, scratch, facts)
    events, rows = len(history.seen) - 1, opening.item.shape[0]
    for r in range(events):
        _read_event(history, opening, ends, viewer, facts, r)
        _add_taste(opening, viewer, taste, facts, r)
    rounded(facts.floats, rows, facts.halves, events)
    _finish_profile(opening, viewer, taste, events)
    width = scratch.hidden.shape[1]
    inner = rows + history.actions.shape[1] + len(opening.dwell_bias)
    multiply_halves(
        facts.halves, 0, opening.event_token, 0, inner, panels(width), scratch.projected, events
    )
    for r in range(events):
        event = history.seen[r + 1] - 1
        surface = known(history.surfaces[event], len(opening.event_surface))
        gap = bucket(history.ages[event], opening.gaps_from)
        for i in range(width):
            both = opening.event_surface[surface, i] + opening.event_gap[gap, i]
            scratch.hidden[r + 1, i] = scratch.projected[r, i] + both


@helper
def _open_user(
    history: History, opening: Opening, viewer: Viewer, taste: Floats, scratch: Scratch,
    facts: Facts,
) -> None:  # fmt: skip
    """The viewer's token, and their own part of the profile, behind `taste`'s sums of rows."""
    width, each = scratch.hidden.shape[1], opening.users.shape[1]
    hashes, channels = len(history.user), viewer.profile.shape[0]
    for j in range(hashes):
        copy_row(opening.users, history.user[j], facts.floats, 0, j * each)
    rounded(facts.floats, hashes * each, facts.halves, 1)
    multiply_halves(
        facts.halves, 0, opening.user_token, 0, hashes * each, panels(width), scratch.projected, 1
    )
    for i in range(width):
        scratch.hidden[0, i] = scratch.projected[0, i] + opening.user_bias[i]
    sums = taste.shape[1] - each
    for m in range(channels):
        for i in range(taste.shape[1]):
            taste[m, i] = _ZERO
        for x in range(hashes * each):
            for i in range(each):
                own = facts.floats[0, x] * opening.profile_user[x, place(m * each, i)]
                taste[m, place(sums, i)] += own


@helper
def _read_event(
    history: History, opening: Opening, ends: Ends, viewer: Viewer, facts: Facts, r: int
) -> None:
    """Rows as float32; actions and dwell as the product takes them; what is counted of it."""
    event, hashes, each = history.seen[r + 1] - 1, len(history.user), opening.users.shape[1]
    for j in range(hashes):
        copy_row(ends.posts, history.posts[event, j], facts.floats, r, j * each)
        copy_row(ends.authors, history.authors[event, j], facts.floats, r, (hashes + j) * each)
        viewer.authors[j, r] = history.authors[event, j]
    actions, at, total = history.actions.shape[1], 2 * hashes * each, _ZERO
    for a in range(actions):
        total += history.actions[event, a]
        viewer.past[r, a] = history.actions[event, a]
    factor = _ONE if total > 0 else _ZERO
    for a in range(actions):
        facts.halves[r, at + a] = bfloat16(factor * (_TWO * history.actions[event, a] - _ONE))
    ratio, is_known = _dwell(history.dwell[event], opening.dwell_scale[0])
    viewer.past[r, actions], viewer.past[r, actions + 1] = _ONE, ratio
    for i in range(len(opening.dwell_bias)):
        x = ratio * opening.dwell_hidden[0, i] + is_known * opening.dwell_hidden[1, i]
        facts.halves[r, place(at + actions, i)] = bfloat16(gelu(x + opening.dwell_bias[i]))


@helper
def _dwell(seconds: Any, scale: Any) -> Any:
    """`phoenix.tokens.dwell_ratio`, and whether it is known."""
    clipped = min(max(seconds, _ZERO), scale)
    ratio = np.float32(math.log1p(clipped)) / np.float32(math.log1p(scale))
    return ratio, (_ONE if seconds >= _ZERO else _ZERO)


@helper
def _add_taste(opening: Opening, viewer: Viewer, taste: Floats, facts: Facts, r: int) -> None:
    """The rows of an event, weighted by what was done: the item's matrix waits for their sum."""
    for m in range(viewer.profile.shape[0]):
        weight = _ZERO
        for x in range(opening.profile_past.shape[0]):
            weight += viewer.past[r, x] * opening.profile_past[x, m]
        for i in range(opening.item.shape[0]):
            taste[m, i] += weight * facts.floats[r, i]


@helper
def _finish_profile(opening: Opening, viewer: Viewer, taste: Floats, events: int) -> None:
    """Agreement's numbers: (sum of items / √(1 + events) + own) times the item's matrix again."""
    rows, each = opening.item.shape
    scale = _ONE / np.sqrt(_ONE + np.float32(events))
    for m in range(viewer.profile.shape[0]):
        for x in range(rows):
            weight = scale * taste[m, x]
            for i in range(each):
                taste[m, place(rows, i)] += weight * opening.item[x, i]
        for x in range(rows):
            total = _ZERO
            for i in range(each):
                total += taste[m, place(rows, i)] * opening.item[x, i]
            viewer.profile[m, x] = _SCALE * total
