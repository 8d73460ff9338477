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
from phoenix.fused.steps import (
    Context,
    Floats,
    Halves,
    Heads,
    Layers,
    Scratch,
    feed_forward,
    mix_head,
    pairs,
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
            project(layers, layer, heads, scratch, count)
            rounded(scratch.projected, heads.heads * heads.key_size, scratch.query, count)
            for head in range(heads.heads):
                weigh_head(layer, head, heads, context, context.seen, scratch, count)
                weigh_against_own(head, heads, scratch, count)
                mix_head(layer, head, heads, context, scratch, count)
            write(layers, layer, heads, scratch, count)
            feed_forward(layers, layer, heads, scratch, count)
        for r in range(count):
            for i in range(width):
                out[start + r, i] = scratch.hidden[r, i]


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
        project(layers, layer, heads, scratch, count)
        rotate(scratch.projected, heads.heads + heads.groups, size, turns, seen, count)
        _keep(layer, heads, seen, scratch, keys, values)
        if layer == every - 1:
            return
        pack_layer(keys, values, layer, seen, context.keys, context.values)
        rounded(scratch.projected, heads.heads * size, scratch.query, count)
        for head in range(heads.heads):
            weigh_head(layer, head, heads, context, first, scratch, count)
            for r in range(count):
                scratch.own[r], scratch.inverse[r] = _F(0), _F(1) / scratch.totals[r]
            mix_head(layer, head, heads, context, scratch, count)
        write(layers, layer, heads, scratch, count)
        feed_forward(layers, layer, heads, scratch, count)


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
    key_panel, value_panel = pairs(size) * 2 * PANEL, pairs(len(seen)) * 2 * PANEL
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
