"""What a layer does to the rows of one tile, in its thread's scratch: the kernels' parts.

Glossary: C candidates, R rows of a tile, D width, L layers, H query heads, G key/value heads, K key
size, S context tokens that may be seen, W feed-forward width. Matrices are packed (`instructions`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix.fused.elementwise import (
    add_normed,
    gated,
    own_scores,
    place,
    weigh,
    weigh_own,
)
from phoenix.fused.instructions import PANEL, helper
from phoenix.fused.numbers import as_kept
from phoenix.fused.operands import (
    ByteRows,
    Bytes,
    completed,
    multiply,
    multiply_halves,
    normed,
    panels,
)

Halves = NDArray[np.uint16]
Floats = NDArray[np.float32]
_F = np.float32


class Layers(NamedTuple):
    """All layers' parameters, packed along their last axis; matrices all in one of the types."""

    inputs: Halves | Bytes  # [L, D · (H + 2 G) K]: query, key, value
    output: Halves | Bytes  # [L, H K · D]
    gates: Halves | Bytes  # [L, D · W]
    values: Halves | Bytes  # [L, D · W]
    ffn_output: Halves | Bytes  # [L, W · D]
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
    operand: Halves | ByteRows  # [R, D, H K or W, whichever is most]: left of the next product
    narrow: Halves | ByteRows  # [R, D]: the same while `operand` is made of its products
    parts: Halves | Floats  # [R, H K or W]: of which `operand` is made; bfloat16: `operand` itself
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
    width = scratch.hidden.shape[1]
    multiply(
        scratch.operand, layers.inputs, layer, 0, width, panels(joined), scratch.projected, count
    )


@helper
def weigh_head(
    layer: int, head: int, heads: Heads, context: Context, first: int, scratch: Scratch, count: int
) -> None:
    """Weights of the context's tokens; see `weigh` for `first`."""
    size, group = heads.key_size, head // (heads.heads // heads.groups)
    at = (layer * heads.groups + group) * context.keys.shape[2]
    scale = _F(1) / np.sqrt(_F(size))
    multiply_halves(
        scratch.query,
        head * size,
        context.keys,
        at,
        size,
        panels(context.seen),
        scratch.scores,
        count,
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
    multiply_halves(
        scratch.weights, 0, context.values, at, context.seen, panels(size), scratch.mixed, count
    )
    _mix(scratch, head * size, (heads.heads + heads.groups + group) * size, size, count)


@helper
def write(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
    """What attention adds to the hidden rows."""
    every, width = heads.heads * heads.key_size, scratch.hidden.shape[1]
    completed(scratch.parts, every, scratch.operand, count)
    multiply(
        scratch.operand, layers.output, layer, 0, every, panels(width), scratch.projected, count
    )
    add_normed(scratch.hidden, scratch.projected, layers.norms, layer, 1, count)


@helper
def _mix(scratch: Scratch, column: int, value: int, size: int, count: int) -> None:
    """Weighted sums of values, with the candidate's own, over the sum of weights."""
    from_own, mixed = scratch.projected, scratch.mixed
    for r in range(count):
        own, inverse = scratch.own[r], scratch.inverse[r]
        for i in range(size):
            both = (mixed[r, i] + own * from_own[r, place(value, i)]) * inverse
            scratch.parts[r, place(column, i)] = as_kept(both, scratch.parts)


@helper
def feed_forward(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
    width, wide = scratch.hidden.shape[1], heads.ffn_width
    normed(scratch.hidden, layers.norms, layer, 2, scratch.narrow, count)
    for panel in range(panels(wide)):
        multiply(scratch.narrow, layers.gates, layer, panel, width, 1, scratch.gates, count)
        multiply(scratch.narrow, layers.values, layer, panel, width, 1, scratch.values, count)
        gated(scratch.gates, scratch.values, scratch.parts, panel * PANEL, count)
    completed(scratch.parts, wide, scratch.operand, count)
    multiply(
        scratch.operand, layers.ffn_output, layer, 0, wide, panels(width), scratch.projected, count
    )
    add_normed(scratch.hidden, scratch.projected, layers.norms, layer, 3, count)
