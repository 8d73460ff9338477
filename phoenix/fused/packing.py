"""From a ranker's matrices and an encoded context to what the kernels multiply.

Glossary as in `phoenix.fused.steps`; I rows and N columns of a matrix, T context tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from phoenix.config import RankerConfig
from phoenix.fused.blocks import LEFT_ZERO
from phoenix.fused.instructions import PANEL
from phoenix.fused.layers import pack_context
from phoenix.fused.operands import BYTE_MAX, Bytes
from phoenix.fused.steps import Context, Floats, Halves, Layers
from phoenix.ranker import ContextCache

_NORMS = ("norm_attention_in", "norm_attention_out", "norm_ffn_in", "norm_ffn_out")


def packed_layers(config: RankerConfig, dense: Mapping[str, Any], of_bytes: bool) -> Layers:
    """All layers' parameters; matrices are rounded to bfloat16, or to bytes."""
    modules = [dense[f"ranker/~/layer_{layer}"] for layer in range(config.layers)]

    def matrices(*names: str) -> Halves | Bytes:
        joined = [np.concatenate([np.asarray(m[n]) for n in names], axis=1) for m in modules]
        if of_bytes:
            found = [packed_bytes(matrix.astype(np.float32)) for matrix in joined]
            return Bytes(*(np.stack(arrays) for arrays in zip(*found, strict=True)))
        return np.stack([packed(halves(matrix)) for matrix in joined])

    return Layers(
        inputs=matrices("query", "key", "value"),
        output=matrices("output"),
        gates=matrices("ffn_gate"),
        values=matrices("ffn_value"),
        ffn_output=matrices("ffn_output"),
        norms=np.stack([[np.asarray(m[n], np.float32) for n in _NORMS] for m in modules]),
    )


def packed_seen(cache: ContextCache) -> Context:
    """One viewer's context without the tokens that are not there."""
    keys, values = (halves(array)[:, 0] for array in cache.layers)
    seen = np.flatnonzero(np.asarray(cache.mask)[0])
    layers, groups, size, _ = keys.shape
    context = room(layers, groups, size, len(seen))
    pack_context(keys, values, seen, context.keys, context.values)
    return context


def room(layers: int, groups: int, size: int, seen: int) -> Context:
    """For so many tokens, all zeros."""
    return Context(
        np.zeros((layers, groups, _length(size, seen)), np.uint16),
        np.zeros((layers, groups, _length(seen, size)), np.uint16),
        seen,
    )


def unpacked(context: Context, size: int) -> tuple[Halves, Halves]:
    """Keys [L, G, K, S] and values [L, G, S, K] of a packed context."""

    def matrices(array: Halves, inner: int, columns: int) -> Halves:
        pairs, panels = -(-inner // 2), whole(columns) // PANEL
        parts = array.reshape(*array.shape[:2], panels, pairs, PANEL, 2)
        upright = parts.transpose(0, 1, 3, 5, 2, 4)
        matrix = upright.reshape(*array.shape[:2], 2 * pairs, panels * PANEL)
        return matrix[..., :inner, :columns]

    keys = matrices(context.keys, size, context.seen)
    return keys, matrices(context.values, context.seen, size)


def packed(matrix: Halves) -> Halves:
    """[I, N] → panels · pairs · PANEL · 2 numbers; zeros where I is odd, N no whole panels."""
    return _packed(matrix, 2)


def packed_floats(matrix: Floats) -> Floats:
    """[I, N] → panels · I · PANEL numbers."""
    return _packed(matrix, 1)


def packed_bytes(matrix: NDArray[np.float32]) -> Bytes:
    """[I, N] → one layer's, without the layer's axis: panels · quads · PANEL · 4 numbers."""
    steps = np.maximum(np.abs(matrix).max(axis=0), np.float32(1e-30)) / np.float32(BYTE_MAX)
    numbers = np.rint(matrix / steps).astype(np.int8)
    starts = np.zeros(whole(matrix.shape[1]), np.int32)
    scales = np.zeros(whole(matrix.shape[1]), np.float32)
    starts[: len(steps)] = -LEFT_ZERO * numbers.sum(axis=0, dtype=np.int32)
    scales[: len(steps)] = steps
    return Bytes(_packed(numbers, 4), starts, scales)


def _packed(matrix: NDArray[Any], together: int) -> NDArray[Any]:
    """So many rows to a step, which lie together for each column."""
    inner, columns = matrix.shape
    steps, panels = -(-inner // together), whole(columns) // PANEL
    filled = np.zeros((together * steps, panels * PANEL), matrix.dtype)
    filled[:inner, :columns] = matrix
    parts = filled.reshape(steps, together, panels, PANEL)
    return np.ascontiguousarray(parts.transpose(2, 0, 3, 1)).reshape(-1)


def whole(columns: int) -> int:
    """Columns of whole panels."""
    return -(-columns // PANEL) * PANEL


def halves(values: Any) -> NDArray[np.uint16]:
    """The nearest bfloat16 numbers as uint16; no copy where they are bfloat16."""
    return np.asarray(values).astype(ml_dtypes.bfloat16, copy=False).view(np.uint16)


def _length(inner: int, columns: int) -> int:
    return -(-inner // 2) * 2 * whole(columns)
