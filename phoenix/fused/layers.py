"""Tiles of candidates through all layers, each on one thread and in its core's own caches.

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
    rotate,
    rounded,
    weigh,
    weigh_own,
)
from phoenix.fused.instructions import PANEL, ROWS, bfloat16, helper, kernel, multiply_block, take

Halves = NDArray[np.uint16]
Floats = NDArray[np.float32]
_F = np.float32

TILE_ROWS = 3 * ROWS  # of a thread's turn at most


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


@kernel
def run_tiles(
    hidden: Floats,
    out: Floats,
    layers: Layers,
    heads: Heads,
    context: Context,
    scratch: Scratch,
    counter: NDArray[np.int64],
    tile_rows: int,
) -> None:
    """Candidates [C, D] → [C, D], a tile at a time, until `counter` [1] has no more of them."""
    every, width = hidden.shape
    while True:
        start = take(counter) * tile_rows
        if start >= every:
            return
        count = min(tile_rows, every - start)
        for r in range(count):
            for i in range(width):
                scratch.hidden[r, i] = hidden[start + r, i]
        for layer in range(layers.norms.shape[0]):
            _project(layers, layer, heads, scratch, count)
            rounded(scratch.projected, heads.heads * heads.key_size, scratch.query, count)
            for head in range(heads.heads):
                _weigh_head(layer, head, heads, context, context.seen, scratch, count)
                _weigh_own(head, heads, scratch, count)
                _mix_head(layer, head, heads, context, scratch, count)
            _write(layers, layer, heads, scratch, count)
            _feed_forward(layers, layer, heads, scratch, count)
        for r in range(count):
            for i in range(width):
                out[start + r, i] = scratch.hidden[r, i]


@helper
def _project(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
    """Queries, keys and values of the hidden rows, side by side."""
    joined = (heads.heads + 2 * heads.groups) * heads.key_size
    normed(scratch.hidden, layers.norms, layer, 0, scratch.operand, count)
    _product(
        scratch.operand, 0, layers.inputs, layer * layers.inputs.shape[1],
        scratch.hidden.shape[1], joined, scratch.projected, count,
    )  # fmt: skip


@helper
def _weigh_head(
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
def _weigh_own(head: int, heads: Heads, scratch: Scratch, count: int) -> None:
    size, group = heads.key_size, head // (heads.heads // heads.groups)
    key = (heads.heads + group) * size
    own_scores(scratch.projected, head * size, key, size, scratch.own, count)
    weigh_own(scratch.own, _F(1) / np.sqrt(_F(size)), scratch.totals, scratch.inverse)


@helper
def _mix_head(
    layer: int, head: int, heads: Heads, context: Context, scratch: Scratch, count: int
) -> None:
    size, group = heads.key_size, head // (heads.heads // heads.groups)
    at = (layer * heads.groups + group) * context.values.shape[2]
    _product(scratch.weights, 0, context.values, at, context.seen, size, scratch.mixed, count)
    _mix(scratch, head * size, (heads.heads + heads.groups + group) * size, size, count)


@helper
def _write(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
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
def _feed_forward(layers: Layers, layer: int, heads: Heads, scratch: Scratch, count: int) -> None:
    width, wide = scratch.hidden.shape[1], heads.ffn_width
    normed(scratch.hidden, layers.norms, layer, 2, scratch.query, count)
    panel_numbers = _pairs(width) * 2 * PANEL
    for panel in range(_panels(wide)):
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
    pairs = _pairs(inner)
    for panel in range(_panels(columns)):
        for row in range(0, count, ROWS):
            multiply_block(left, row, column, packed, at, pairs, out, row, panel * PANEL)
        at += pairs * 2 * PANEL


@helper
def _pairs(inner: int) -> int:
    return (inner + 1) // 2


@helper
def _panels(columns: int) -> int:
    return (columns + PANEL - 1) // PANEL


@kernel
def pack_context(
    keys: Halves,
    values: Halves,
    seen: NDArray[np.int64],
    packed_keys: Halves,
    packed_values: Halves,
) -> None:
    """Keys [L, G, K, T] and values [L, G, T, K] of tokens `seen` → `Context`'s, which are zeros."""
    for layer in range(keys.shape[0]):
        pack_layer(keys, values, layer, seen, packed_keys, packed_values)


@helper
def pack_layer(
    keys: Halves, values: Halves, layer: int, seen: Any, packed_keys: Halves, packed_values: Halves
) -> None:
    """One of `pack_context`'s."""
    _, groups, size, _ = keys.shape
    key_panel, value_panel = _pairs(size) * 2 * PANEL, _pairs(len(seen)) * 2 * PANEL
    for group in range(groups):
        for column in range(len(seen)):
            token = seen[column]
            start = column // PANEL * key_panel + column % PANEL * 2
            for k in range(size):
                at = start + k // 2 * (2 * PANEL) + k % 2
                packed_keys[layer, group, at] = keys[layer, group, k, token]
            start = column // 2 * (2 * PANEL) + column % 2
            for k in range(size):
                at = start + k // PANEL * value_panel + k % PANEL * 2
                packed_values[layer, group, at] = values[layer, group, token, k]


@kernel
def run_context(
    hidden: Floats,
    seen: NDArray[np.int64],
    turns: Floats,
    layers: Layers,
    heads: Heads,
    is_causal: bool,
    keys: Halves,
    values: Halves,
    context: Context,
    scratch: Scratch,
) -> None:
    """Context tokens [T, D] → keys [L, G, K, T] and values [L, G, T, K] of those `seen` [S].

    `turns` [T, 2, K / 2] are cosines and sines of the tokens' rotations. On one thread: there are
    few tokens, and each waits for all others in every layer. `context` is room for packed ones.
    """
    count, size, every = len(seen), heads.key_size, layers.norms.shape[0]
    first = 1 if is_causal else count
    for r in range(count):
        for i in range(hidden.shape[1]):
            scratch.hidden[r, i] = hidden[seen[r], i]
    for layer in range(every):
        _project(layers, layer, heads, scratch, count)
        rotate(scratch.projected, heads.heads + heads.groups, size, turns, seen, count)
        _keep(layer, heads, seen, scratch, keys, values)
        if layer == every - 1:
            return
        pack_layer(keys, values, layer, seen, context.keys, context.values)
        rounded(scratch.projected, heads.heads * size, scratch.query, count)
        for head in range(heads.heads):
            _weigh_head(layer, head, heads, context, first, scratch, count)
            for r in range(count):
                scratch.own[r], scratch.inverse[r] = _F(0), _F(1) / scratch.totals[r]
            _mix_head(layer, head, heads, context, scratch, count)
        _write(layers, layer, heads, scratch, count)
        _feed_forward(layers, layer, heads, scratch, count)


@helper
def _keep(
    layer: int, heads: Heads, seen: Any, scratch: Scratch, keys: Halves, values: Halves
) -> None:
    """Projected keys and values, in bfloat16."""
    size = heads.key_size
    for r in range(len(seen)):
        for group in range(heads.groups):
            key = (heads.heads + group) * size
            value = key + heads.groups * size
            for k in range(size):
                keys[layer, group, k, seen[r]] = bfloat16(scratch.projected[r, place(key, k)])
                values[layer, group, seen[r], k] = bfloat16(scratch.projected[r, place(value, k)])
