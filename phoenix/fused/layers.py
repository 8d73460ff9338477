"""Candidates, and a context, through all layers: the two kernels.

Candidates pass them in tiles, each on one thread and in its core's own caches; a context's tokens
all at once, for each reads the others in every layer. Glossary as in `phoenix.fused.steps`; T
context tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.fused.elementwise import place, rotate, rounded
from phoenix.fused.instructions import PANEL, ROWS, helper, kernel, take
from phoenix.fused.numbers import bfloat16
from phoenix.fused.operands import pairs
from phoenix.fused.steps import (
    Context,
    Floats,
    Halves,
    Heads,
    Layers,
    Scratch,
    feed_forward,
    mix_head,
    project,
    weigh_against_own,
    weigh_head,
    write,
)

TILE_ROWS = 3 * ROWS  # of a thread's turn at most
_F = np.float32


@kernel
def run_tiles(
    hidden: Floats,
    out: Floats,
    layers: Layers,
    heads: Heads,
    context: Context,
    scratch: Scratch,
    tiles: NDArray[np.int64],
    counter: NDArray[np.int64],
) -> None:
    """Candidates [C, D] → [C, D], a tile at a time, until `counter` [1] has no more of them.

    `tiles` are the rows at which they begin, and the number of all rows behind.
    """
    width = hidden.shape[1]
    while True:
        tile = take(counter)
        if tile >= len(tiles) - 1:
            return
        start, count = tiles[tile], tiles[tile + 1] - tiles[tile]
        for r in range(count):
            for i in range(width):
                scratch.hidden[r, i] = hidden[start + r, i]
        pass_layers(layers, heads, context, scratch, count)
        for r in range(count):
            for i in range(width):
                out[start + r, i] = scratch.hidden[r, i]


@helper
def pass_layers(
    layers: Layers, heads: Heads, context: Context, scratch: Scratch, count: int
) -> None:
    """A tile's hidden rows, candidates of one viewer, through all layers."""
    for layer in range(layers.norms.shape[0]):
        project(layers, layer, heads, scratch, count)
        rounded(scratch.projected, heads.heads * heads.key_size, scratch.query, count)
        for head in range(heads.heads):
            weigh_head(layer, head, heads, context, context.seen, scratch, count)
            weigh_against_own(head, heads, scratch, count)
            mix_head(layer, head, heads, context, scratch, count)
        write(layers, layer, heads, scratch, count)
        feed_forward(layers, layer, heads, scratch, count)


@kernel
def run_context(
    hidden: Floats,
    seen: NDArray[np.int64],
    turns: Floats,
    layers: Layers,
    heads: Heads,
    is_causal: bool,
    context: Context,
    scratch: Scratch,
) -> None:
    """Context tokens [T, D], of which those `seen` [S] are there → `context`, which is zeros."""
    for r in range(len(seen)):
        for i in range(hidden.shape[1]):
            scratch.hidden[r, i] = hidden[seen[r], i]
    encode_layers(seen, turns, layers, heads, is_causal, context, scratch)


@helper
def encode_layers(
    seen: Any,
    turns: Any,
    layers: Layers,
    heads: Heads,
    is_causal: bool,
    context: Context,
    scratch: Scratch,
) -> None:
    """All layers' packed keys and values of the hidden rows, which are the tokens `seen`.

    `turns` [T, 2, K / 2] are cosines and sines of the tokens' rotations. On one thread: there are
    few tokens, and each waits for all others in every layer.
    """
    count, size, every = len(seen), heads.key_size, layers.norms.shape[0]
    first = 1 if is_causal else count
    for layer in range(every):
        project(layers, layer, heads, scratch, count)
        rotate(scratch.projected, heads.heads + heads.groups, size, turns, seen, count)
        _keep(layer, heads, context, scratch, count)
        if layer == every - 1:
            return
        rounded(scratch.projected, heads.heads * size, scratch.query, count)
        for head in range(heads.heads):
            weigh_head(layer, head, heads, context, first, scratch, count)
            for r in range(count):
                scratch.own[r], scratch.inverse[r] = _F(0), _F(1) / scratch.totals[r]
            mix_head(layer, head, heads, context, scratch, count)
        write(layers, layer, heads, scratch, count)
        feed_forward(layers, layer, heads, scratch, count)


@helper
def _keep(layer: int, heads: Heads, context: Context, scratch: Scratch, count: int) -> None:
    """Projected keys and values, in bfloat16, where `pack_context` puts them."""
    size = heads.key_size
    for group in range(heads.groups):
        key = (heads.heads + group) * size
        value = key + heads.groups * size
        for r in range(count):
            for k in range(size):
                at = _packed_at(k, r, size)
                context.keys[layer, group, at] = bfloat16(scratch.projected[r, place(key, k)])
                at = _packed_at(r, k, context.seen)
                context.values[layer, group, at] = bfloat16(scratch.projected[r, place(value, k)])


@helper
def _packed_at(row: int, column: int, rows: int) -> Any:
    """Where a number of a packed matrix of so many rows lies."""
    panel = column // PANEL * pairs(rows) * 2 * PANEL
    return panel + row // 2 * (2 * PANEL) + column % PANEL * 2 + row % 2


@kernel
def pack_context(
    keys: Halves,
    values: Halves,
    seen: NDArray[np.int64],
    packed_keys: Halves,
    packed_values: Halves,
) -> None:
    """Keys [L, G, K, T] and values [L, G, T, K] of tokens `seen` → `Context`'s, which are zeros."""
    every, groups, size, _ = keys.shape
    for layer in range(every):
        for group in range(groups):
            for column in range(len(seen)):
                token = seen[column]
                for k in range(size):
                    at = _packed_at(k, column, size)
                    packed_keys[layer, group, at] = keys[layer, group, k, token]
                    at = _packed_at(column, k, len(seen))
                    packed_values[layer, group, at] = values[layer, group, token, k]
