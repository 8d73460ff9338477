"""Before the layers: what is known of a candidate, and its token.

Glossary as in `phoenix.fused.ends`; R rows of a tile. The same as `phoenix.tokens` and
`phoenix.ranker` build of it, which training and other models use; tests hold them together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phoenix.fused.blocks import ask_for
from phoenix.fused.elementwise import place, rounded
from phoenix.fused.ends import Asked, Ends, Facts, Viewer
from phoenix.fused.instructions import LANES, helper
from phoenix.fused.operands import multiply_halves, panels
from phoenix.fused.steps import Scratch

_ZERO = np.float32(0)


@helper
def make_tokens(
    asked: Asked, start: int, viewer: Viewer, ends: Ends, scratch: Scratch, facts: Facts, count: int
) -> None:
    """Candidates from `start` on → facts, and the tile's hidden rows."""
    width = scratch.hidden.shape[1]
    every = facts.floats.shape[1] - width
    for r in range(count):
        _ask_for_rows(ends, asked, start + r)
    for r in range(count):
        _read_rows(ends, asked, start + r, facts.floats, r)
        _agree(viewer, facts.floats, r)
        _meet_author(viewer, asked, start + r, every, facts.floats, r)
    rounded(facts.floats, every, facts.halves, count)
    multiply_halves(facts.halves, 0, ends.token, 0, every, panels(width), scratch.projected, count)
    for r in range(count):
        surface = known(asked.surfaces[start + r], len(ends.token_surface))
        age = bucket(asked.ages[start + r], ends.ages_from)
        for i in range(width):
            both = ends.token_surface[surface, i] + ends.token_age[age, i]
            scratch.hidden[r, i] = scratch.projected[r, i] + both


@helper
def copy_row(table: Any, wanted: int, out: Any, r: int, column: int) -> None:
    """A row of the table, from this column on; NaN where it is out of range."""
    rows, width = table.shape
    row = np.uint64(wanted)
    is_there = row < np.uint64(rows)
    row = row if is_there else np.uint64(0)
    nothing = _ZERO if is_there else np.float32(np.nan)
    for i in range(width):
        out[r, place(column, i)] = table[row, i] + nothing


@helper
def known(category: int, count: int) -> Any:
    """One of `count`; 0 is what stands for others."""
    at = np.uint64(category)
    return at if at < np.uint64(count) else np.uint64(0)


@helper
def bucket(value: Any, bounds: Any) -> Any:
    """How many of the ascending bounds a value has reached."""
    low, high = 0, len(bounds)
    while low < high:
        middle = (low + high) // 2
        if value >= bounds[middle]:
            low = middle + 1
        else:
            high = middle
    return low


@helper
def _ask_for_rows(ends: Ends, asked: Asked, candidate: int) -> None:
    """Before any is waited for: they lie anywhere in memory."""
    for j in range(asked.posts.shape[1]):
        for column in range(0, ends.posts.shape[1], LANES):
            ask_for(ends.posts, asked.posts[candidate, j], column)
            ask_for(ends.authors, asked.authors[candidate, j], column)


@helper
def _read_rows(ends: Ends, asked: Asked, candidate: int, out: Any, r: int) -> None:
    width, hashes = ends.posts.shape[1], asked.posts.shape[1]
    for j in range(hashes):
        copy_row(ends.posts, asked.posts[candidate, j], out, r, j * width)
        copy_row(ends.authors, asked.authors[candidate, j], out, r, (hashes + j) * width)


@helper
def _agree(viewer: Viewer, out: Any, r: int) -> None:
    channels, rows = viewer.profile.shape
    for channel in range(channels):
        total = _ZERO
        for i in range(rows):
            total += out[r, i] * viewer.profile[channel, i]
        out[r, rows + channel] = total


@helper
def _meet_author(
    viewer: Viewer, asked: Asked, candidate: int, every: int, out: Any, r: int
) -> None:
    """log1p of the counts of what the viewer did on the author of the same hashes, none 0."""
    hashes, events = viewer.authors.shape
    at = viewer.profile.shape[0] + viewer.profile.shape[1]
    columns = every - at
    for x in range(columns):
        out[r, place(at, x)] = _ZERO
    first = asked.authors[candidate, 0]
    found = 0
    for s in range(events):
        found += viewer.authors[0, s] == first
    if found == 0:
        return
    for s in range(events):
        is_same = True
        for j in range(hashes):
            hashed = asked.authors[candidate, j]
            is_same = is_same and hashed != 0 and viewer.authors[j, s] == hashed
        if is_same:
            for x in range(columns):
                out[r, place(at, x)] += viewer.past[s, x]
    for x in range(columns):
        counted = out[r, place(at, x)]
        if counted > 0:
            out[r, place(at, x)] = np.float32(math.log1p(counted))
