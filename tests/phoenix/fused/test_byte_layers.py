"""The layers in bytes beside plain numpy in bytes, and the products and roundings they are made of.

Glossary: R rows, I rows and N columns of a matrix.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from phoenix.fused.blocks import LEFT_ZERO, multiply_byte_block
from phoenix.fused.context import ContextLayers
from phoenix.fused.instructions import PANEL, ROWS, has_byte_instructions, has_instructions, kernel
from phoenix.fused.operands import ByteRows, Bytes, completed, multiply, normed
from phoenix.fused.packing import packed_bytes, whole

pytestmark = pytest.mark.skipif(
    not (has_instructions() and has_byte_instructions()),
    reason="the kernel needs a processor with AVX-512 BF16 and VNNI",
)
SHAPES = {
    "every head its own keys": {"heads": 2, "kv_heads": 2, "key_size": 16},
    "heads share keys": {"heads": 4, "kv_heads": 2, "key_size": 32},
    "odd widths": {"width": 38, "heads": 3, "kv_heads": 1, "key_size": 22},
}


def in_bytes(x: np.ndarray, axis: int) -> np.ndarray:
    """x as whole multiples of a scale along `axis`."""
    scale = np.maximum(np.abs(x).max(axis=axis, keepdims=True), np.float32(1e-30)) / np.float32(127)
    return (np.rint(x / scale) * scale).astype(np.float32)


def brief(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def rms_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=1, keepdims=True) + np.float32(1e-5)) * scale


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return in_bytes(x, 1) @ in_bytes(weight, 0)


def plain_layer(config: Any, p: Any, x: np.ndarray, keys: np.ndarray, values: np.ndarray) -> Any:
    """[R, D] → [R, D]; keys [G, K, S] and values [G, S, K] of the context."""
    size, share = config.key_size, config.heads // config.kv_heads
    read = rms_norm(x, p["norm_attention_in"])
    query, key, value = (
        product(read, p[name]).reshape(len(x), -1, size) for name in ("query", "key", "value")
    )
    mixed = []
    for head in range(config.heads):
        group = head // share
        scores = [brief(query[:, head]) @ keys[group], (query[:, head] * key[:, group]).sum(1)]
        others, own = (np.exp(30 * np.tanh(s / np.sqrt(size) / 30)) for s in scores)
        others = brief(others)
        summed = others @ values[group] + own[:, None] * value[:, group]
        mixed.append(summed / (others.sum(axis=1) + own)[:, None])
    x = x + rms_norm(product(np.concatenate(mixed, 1), p["output"]), p["norm_attention_out"])
    read = rms_norm(x, p["norm_ffn_in"])
    gate, value = product(read, p["ffn_gate"]), product(read, p["ffn_value"])
    gelu = gate * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    return x + rms_norm(product(gelu * value, p["ffn_output"]), p["norm_ffn_out"])


def plain_layers(model: Any, hidden: np.ndarray) -> np.ndarray:
    seen = np.flatnonzero(np.asarray(model.cache.mask)[0])
    keys, values = (np.asarray(array, np.float32)[:, 0] for array in model.cache.layers)
    for at in range(model.config.layers):
        p = {n: np.asarray(v) for n, v in model.params["dense"][f"ranker/~/layer_{at}"].items()}
        hidden = plain_layer(
            model.config, p, hidden, keys[at][:, :, seen], values[at][:, seen]
        ).astype(np.float32)
    return hidden


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("history", [0, 21])
def test_layers_are_plain_ones_in_bytes(make_model, sizes: dict[str, int], history: int) -> None:
    """A wrong scale, column or correction would move every score of an operator who chose int8."""
    model = make_model(history, of_bytes=True, **sizes)
    hidden = model.hidden(2 * ROWS + 3)
    exact, plain = model.plain(hidden, "float32"), plain_layers(model, hidden)
    fused = model.fused(hidden)
    difference, unavoidable = (np.sqrt(np.mean((plain - x) ** 2)) for x in (fused, exact))
    assert 0 < difference < 0.25 * unavoidable  # a number in the middle of two rounds either way
    assert np.sqrt(np.mean((fused - exact) ** 2)) < 0.1 * np.sqrt(np.mean(exact**2))


def test_contexts_in_bytes_are_nearly_those_in_float32(make_model) -> None:
    """Candidates must read the viewer's history, not another's, where it is encoded in bytes."""
    model = make_model(17, of_bytes=True)
    hidden, cache = model.ranker.open(model.params, model.context)
    mask = np.asarray(cache.mask)[0]
    found = ContextLayers(model.config).run(model.layers, np.asarray(hidden)[0], mask)
    for ours, theirs in zip(found, model.cache.layers, strict=True):
        axis = 4 if theirs.shape[3] == model.config.key_size else 3
        fused, brief_ones = (np.compress(mask, np.asarray(x), axis=axis) for x in (ours, theirs))
        x, y = (array.astype(np.float32) for array in (fused, brief_ones))
        assert 0 < np.sqrt(np.mean((x - y) ** 2)) < 0.05 * np.sqrt(np.mean(y**2))


@pytest.mark.parametrize("count", [1, ROWS + 1, 6 * ROWS + 5])
def test_any_number_on_any_threads_is_the_same(make_model, count: int) -> None:
    """A scale must be a row's own: a candidate's score must not depend on who stands beside it."""
    model = make_model(of_bytes=True)
    hidden = model.hidden(count)
    alone = np.concatenate([model.fused(row[None], threads=1) for row in hidden])
    for threads in (1, 3):
        assert np.array_equal(model.fused(hidden, threads), alone)


def test_products_of_bytes_are_exact() -> None:
    """A packed byte in the wrong place, or one that saturates, would make every score wrong."""

    @kernel
    def block(left, scales, right, quads, out):
        multiply_byte_block(
            left, 1, scales, right.numbers, PANEL, quads, right.starts, right.scales, out, 2, 3
        )

    rng = np.random.default_rng(0)
    left = rng.integers(-127, 128, (ROWS + 2, 40)).astype(np.float32)
    right = rng.integers(-127, 128, (31, PANEL + 7)).astype(np.float32)
    left[3], right[:, PANEL + 2], right[0] = 127, 127, 127  # what saturating sums would cut
    out = np.full((ROWS + 3, PANEL + 4), 7.0, np.float32)
    scales = np.arange(ROWS + 2, dtype=np.float32)
    block((left + LEFT_ZERO).astype(np.uint8), scales, packed_bytes(right), 8, out)
    expected = (left[1 : ROWS + 1, :31] @ right[:, PANEL:]) * scales[1 : ROWS + 1, None]
    assert np.array_equal(out[2 : ROWS + 2, 3:10], expected)
    assert (out[2 : ROWS + 2, 10 : PANEL + 3] == 0).all()
    out[2 : ROWS + 2, 3 : PANEL + 3] = 7.0
    assert (out == 7.0).all()


@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (17, 37, 45), (42, 64, 96)])
def test_products_are_those_of_numpy(rows: int, inner: int, columns: int) -> None:
    """A model whose sizes are no multiples of the registers' must be multiplied as well."""

    @kernel
    def multiplied(x, left, right, inner, panels, out, count):
        completed(x, inner, left, count)
        multiply(left, right, 1, 0, inner, panels, out, count)

    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, inner)).astype(np.float32)
    weights = rng.standard_normal((2, inner, columns)).astype(np.float32)
    right = Bytes(*map(np.stack, zip(*map(packed_bytes, weights), strict=True)))
    every = -(-rows // ROWS) * ROWS
    left = ByteRows(np.full((every, whole(inner)), 9, np.uint8), np.zeros(every, np.float32))
    out = np.zeros((every, whole(columns)), np.float32)
    multiplied(x, left, right, inner, whole(columns) // PANEL, out, rows)
    np.testing.assert_allclose(
        out[:rows, :columns], product(x, weights[1]), rtol=1e-5, atol=1e-5 * np.sqrt(inner)
    )


def test_rows_in_bytes_are_as_near_as_bytes_can_be() -> None:
    """Half a step is what rounding may cost; zeros and numbers that are none must stay it."""

    @kernel
    def both(x, scale, left, other):
        normed(x, scale, 0, 1, left, len(x))
        completed(x, x.shape[1], other, len(x))

    rng = np.random.default_rng(5)
    x = (rng.standard_normal((6, 70)) * np.array([[1], [1e3], [1e-3], [0], [1], [1]])).astype("f4")
    x[4, 3], x[5, 7] = np.nan, np.inf
    scale = rng.standard_normal((1, 4, 70)).astype(np.float32)
    found = [ByteRows(np.zeros((6, 96), np.uint8), np.zeros(6, np.float32)) for _ in range(2)]
    both(x, scale, *found)
    for rows, exact in zip(found, (rms_norm(x[:4], scale[0, 1]), x[:4]), strict=True):
        shown = (rows.numbers[:4, :70].astype(np.float32) - LEFT_ZERO) * rows.scales[:4, None]
        assert (np.abs(shown - exact) <= 0.5001 * rows.scales[:4, None]).all()
        assert (shown[3] == 0).all()
        assert not np.isfinite(rows.scales[4:]).any()
