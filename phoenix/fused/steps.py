"""What a layer does to the rows of one tile, in its thread's scratch: the kernels' parts.

Glossary: C candidates, R rows of a tile, D width, L layers, H query heads, G key/value heads, K key
size, S context tokens that may be seen, W feed-forward width. Matrices are packed (`instructions`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix.fused.elementwise import (
    add_normed,
    gated,
    normed,
    own_scores,
    place,
    weigh,
    weigh_own,
)
from phoenix.fused.instructions import PANEL, ROWS, helper, multiply_block
from phoenix.fused.numbers import bfloat16

Halves = NDArray[np.uint16]
Floats = NDArray[np.float32]
_F = np.float32


class Layers(NamedTuple):
    """All layers' parameters, packed along their last axis."""

    inputs: Halves  # [L, D · (H + 2 G) K]: query, key, value
    output: Halves  # [L, H K · D]
    gates: Halves  # [L, D · W]
    values: Halves  # [L, D · W]
    ffn_output: Halves  # [L, W · D]
    norms: Floats  # [L, 4, D]: attention in and out, feed-forward in and out


class Heads(NamedTuple):
    """Sizes of attention and feed-forward."""

    heads: int
    groups: int
    key_size: int
    ffn_width: int


class Context(NamedTuple):
    """What candidates see of one viewer's context, packed along the last axis."""

    keys: Halves  # [L, G, K · S]
    values: Halves  # [L, G, S · K]
    seen: int  # S


class Scratch(NamedTuple):
    """One thread's own; rows behind a tile's real ones hold numbers that nobody reads."""

    hidden: Floats  # [R, D]
    operand: Halves  # [R, D, H K or W, whichever is most]: left of the next product
    query: Halves  # [R, H K]
    weights: Halves  # [R, S, one more where that is odd]
    projected: Floats  # [R, (H + 2 G) K or D]
    scores: Floats  # [R, S]
    mixed: Floats  # [R, K]
    gates: Floats  # [R, PANEL]
    values: Floats  # [R, PANEL]
    own: Floats  # [R]: what a candidate weighs for itself
    totals: Floats  # [R]: what the context weighs for it
    inverse: Floats  # [R]: of both


@helper
def project(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
    """Queries, keys and values of the hidden rows, side by side."""
    joined = (heads.heads + 2 * heads.groups) * heads.key_size
    normed(scratch.hidden, layers.norms, layer, 0, scratch.operand, count)
    _product(
        scratch.operand, 0, layers.inputs, layer * layers.inputs.shape[1],
        scratch.hidden.shape[1], joined, scratch.projected, count,
    )  # fmt: skip


@helper
def weigh_head(
    layer: int, head: int, heads: Heads, context: Context, first: int, scratch: Scratch, count: int
) -> None:
    """Weights of the context's tokens; see `weigh` for `first`."""
    size, group = heads.key_size, head // (heads.heads // heads.groups)
    at = (layer * heads.groups + group) * context.keys.shape[2]
    scale = _F(1) / np.sqrt(_F(size))
    _product(
        scratch.query, head * size, context.keys, at, size, context.seen, scratch.scores, count
    )
    weigh(scratch.scores, context.seen, first, scale, scratch.weights, scratch.totals, count)


@helper
def weigh_against_own(head: int, heads: Heads, scratch: Scratch, count: int) -> None:
    size, group = heads.key_size, head // (heads.heads // heads.groups)
    key = (heads.heads + group) * size
    own_scores(scratch.projected, head * size, key, size, scratch.own, count)
    weigh_own(scratch.own, _F(1) / np.sqrt(_F(size)), scratch.totals, scratch.inverse)


@helper
def mix_head(
    layer: int, head: int, heads: Heads, context: Context, scratch: Scratch, count: int
) -> None:
    size, group = heads.key_size, head // (heads.heads // heads.groups)
    at = (layer * heads.groups + group) * context.values.shape[2]
    _product(scratch.weights, 0, context.values, at, context.seen, size, scratch.mixed, count)
    _mix(scratch, head * size, (heads.heads + heads.groups + group) * size, size, count)


@helper
def write(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
    """What attention adds to the hidden rows."""
    _product(
        scratch.operand, 0, layers.output, layer * layers.output.shape[1],
        heads.heads * heads.key_size, scratch.hidden.shape[1], scratch.projected, count,
    )  # fmt: skip
    add_normed(scratch.hidden, scratch.projected, layers.norms, layer, 1, count)


@helper
def _mix(scratch: Scratch, column: int, value: int, size: int, count: int) -> None:
    """Weighted sums of values, with the candidate's own, over the sum of weights."""
    from_own, mixed = scratch.projected, scratch.mixed
    for r in range(count):
        own, inverse = scratch.own[r], scratch.inverse[r]
        for i in range(size):
            both = (mixed[r, i] + own * from_own[r, place(value, i)]) * inverse
            scratch.operand[r, place(column, i)] = bfloat16(both)


@helper
def feed_forward(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
    width, wide = scratch.hidden.shape[1], heads.ffn_width
    normed(scratch.hidden, layers.norms, layer, 2, scratch.query, count)
    panel_numbers = pairs(width) * 2 * PANEL
    for panel in range(panels(wide)):
        at = layer * layers.gates.shape[1] + panel * panel_numbers
        _product(scratch.query, 0, layers.gates, at, width, PANEL, scratch.gates, count)
        _product(scratch.query, 0, layers.values, at, width, PANEL, scratch.values, count)
        gated(scratch.gates, scratch.values, scratch.operand, panel * PANEL, count)
    _product(
        scratch.operand, 0, layers.ffn_output, layer * layers.ffn_output.shape[1], wide, width,
        scratch.projected, count,
    )  # fmt: skip
    add_normed(scratch.hidden, scratch.projected, layers.norms, layer, 3, count)


@helper
def _product(
    left: Any, column: int, packed: Any, at: int, inner: int, columns: int, out: Any, count: int
) -> None:
    """out[:count, :columns] = left[:count, column : column + inner] · packed, from number `at`."""
    depth = pairs(inner)
    for panel in range(panels(columns)):
        for row in range(0, count, ROWS):
            multiply_block(left, row, column, packed, at, depth, out, row, panel * PANEL)
        at += depth * 2 * PANEL


@helper
def pairs(inner: int) -> int:
    return (inner + 1) // 2


@helper
def panels(columns: int) -> int:
    return (columns + PANEL - 1) // PANEL
