"""The layers in one kernel beside the same layers as XLA runs them, and their parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from phoenix.config import ranker_preset
from phoenix.fused import elementwise, numbers
from phoenix.fused.blocks import multiply_block
from phoenix.fused.candidates import CandidateLayers, runs_here
from phoenix.fused.context import ContextLayers
from phoenix.fused.instructions import PANEL, ROWS, has_instructions, kernel
from phoenix.fused.packing import halves, packed
from phoenix.fused.rows import gathered
from phoenix.ranker import Ranker
from phoenix.serving.loading import made_up_candidates

pytestmark = pytest.mark.skipif(
    not has_instructions(), reason="the kernel needs a processor with AVX-512 BF16"
)
SHAPES = {
    "every head its own keys": {"heads": 2, "kv_heads": 2, "key_size": 16},
    "heads share keys": {"heads": 4, "kv_heads": 2, "key_size": 32},
    "heads wider than the stream": {"width": 32, "heads": 4, "kv_heads": 1, "key_size": 64},
}


@pytest.fixture(scope="module")
def model(make_model) -> Any:
    return make_model()


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("history", [0, 8, 21])
def test_layers_are_those_of_the_model(make_model, sizes: dict[str, int], history: int) -> None:
    """A feed scored by the kernel must be as near to float32 as one that XLA scores in bfloat16."""
    model = make_model(history, **sizes)
    hidden = model.hidden(2 * ROWS + 3)
    exact, rounded = (model.plain(hidden, dtype) for dtype in ("float32", "bfloat16"))
    fused = model.fused(hidden)
    error, unavoidable = (np.sqrt(np.mean((x - exact) ** 2)) for x in (fused, rounded))
    assert 0 < error <= 1.2 * unavoidable
    assert np.abs(fused - exact).max() <= 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("history", [0, 8, 21])
def test_contexts_are_those_of_the_model(
    make_model, sizes: dict[str, int], history: int, causal: bool
) -> None:
    """Candidates must read the viewer's history as the model encodes it, masks and all."""
    model = make_model(history, causal=causal, **sizes)
    hidden, cache = model.ranker.open(model.params, model.context)
    mask = np.asarray(cache.mask)[0]
    found = ContextLayers(model.config).run(model.layers, np.asarray(hidden)[0], mask)
    exact = Ranker(replace(model.config, compute_dtype="float32"))
    for fused, brief, true in zip(
        found, model.cache.layers, exact.encode(model.params, model.context).layers, strict=True
    ):
        axis = 4 if true.shape[3] == model.config.key_size else 3
        ours, theirs, truth = (
            np.compress(mask, np.asarray(x, np.float32), axis=axis) for x in (fused, brief, true)
        )
        error, unavoidable = (np.sqrt(np.mean((x - truth) ** 2)) for x in (ours, theirs))
        assert 0 < error <= 1.2 * unavoidable


@pytest.mark.parametrize("count", [1, ROWS, ROWS + 1, 6 * ROWS + 5])
def test_any_number_on_any_threads_is_the_same(model, count: int) -> None:
    """A candidate's score must not depend on how the others were spread over tiles and cores."""
    hidden = model.hidden(count)
    alone = np.concatenate([model.fused(row[None], threads=1) for row in hidden])
    for threads in (1, 2, 3):
        assert np.array_equal(model.fused(hidden, threads), alone)


def test_calls_at_once_do_not_mix(model) -> None:
    """Two feeds that are scored at the same moment must not see each other's numbers."""
    layers = CandidateLayers(model.config, 2)
    inputs = [model.hidden(count) for count in (100, 150, 200, 250)] * 5
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: layers.run(model.layers, model.cache, x), inputs))
    for hidden, answer in zip(inputs, found, strict=True):
        assert np.array_equal(answer, model.fused(hidden, 1))


def test_begun_and_finished_is_the_whole_score(make_model) -> None:
    """A ranker that scores in two programs must answer what one program does."""
    model = make_model()
    candidates = made_up_candidates(model.config, np.random.default_rng(1), 40)
    tables = model.params["tables"]
    rows = (
        gathered(tables["post"], candidates.post_hashes),
        gathered(tables["author"], candidates.author_hashes),
    )
    features, hidden = model.ranker.begin(model.params, model.cache, candidates, *rows)
    passed = model.fused(np.asarray(hidden)[0])[None]
    found = model.ranker.finish(model.params, model.cache, candidates, features, passed)
    whole = model.ranker.score(model.params, model.cache, candidates)
    assert np.abs(np.exp(found.log_probs) - np.exp(whole.log_probs)).max() < 0.02
    assert np.abs(found.dwell_log - whole.dwell_log).max() < 0.1


def test_rows_are_those_of_the_table() -> None:
    """A candidate must be read with its own rows; one that is out of range must be seen."""
    table = np.random.default_rng(0).standard_normal((9, 24)).astype(np.float32)
    hashes = np.array([[[0, 8], [3, 3]], [[-1, 9], [7, 1]]], np.int32)
    found = gathered(table, hashes)
    assert np.isnan(found[1, 0]).all()
    assert np.array_equal(found[0], table[hashes[0]])
    assert np.array_equal(found[1, 1], table[hashes[1, 1]])


def test_others_keep_their_programs() -> None:
    """A ranker in float32, or with odd sizes, must not be rounded by the kernel."""
    brief = ranker_preset("nano", compute_dtype="bfloat16")
    assert runs_here(brief)
    assert not runs_here(replace(brief, compute_dtype="float32"))
    assert not runs_here(replace(brief, width=31))


def test_products_of_small_integers_are_exact() -> None:
    """A packed number in the wrong place would make every score wrong."""

    @kernel
    def product(left, right, pairs, out):
        multiply_block(left, 1, 2, right, 0, pairs, out, 2, 3)

    rng = np.random.default_rng(0)
    left = rng.integers(-9, 9, (ROWS + 2, 40)).astype(np.float32)
    right = rng.integers(-9, 9, (31, PANEL)).astype(np.float32)
    out = np.full((ROWS + 3, PANEL + 4), 7.0, np.float32)
    shown = np.concatenate([right, np.zeros((1, PANEL), np.float32)])
    product(halves(left), packed(halves(right)), 16, out)
    assert np.array_equal(out[2 : ROWS + 2, 3 : PANEL + 3], left[1 : ROWS + 1, 2:34] @ shown)
    out[2 : ROWS + 2, 3 : PANEL + 3] = 7.0
    assert (out == 7.0).all()


def test_functions_are_those_of_numpy() -> None:
    """An approximation off by more than float32's own rounding would move every probability."""

    @kernel
    def all_of(x, powers, exponentials, capped, gelus, rounded):
        for i in range(len(x)):
            exponentials[i] = elementwise.exponential(x[i])
            powers[i] = elementwise.clipped_power(x[i])
            capped[i] = elementwise.capped_exponential(x[i])
            gelus[i] = elementwise.gelu(x[i])
            rounded[i] = numbers.bfloat16(x[i])

    x = np.concatenate([np.linspace(-80, 80, 40_001), np.linspace(-4, 4, 40_001)])
    x = x.astype(np.float32)
    found = [np.empty_like(x) for _ in range(4)]
    rounded = np.empty(len(x), np.uint16)
    all_of(x, *found, rounded)
    y = x.astype(np.float64)
    inner = np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)
    gelus = 0.5 * y * (1 + np.tanh(inner))
    np.testing.assert_allclose(found[0], np.exp2(y), rtol=3e-7)
    np.testing.assert_allclose(found[1], np.exp(y), rtol=3e-7)
    np.testing.assert_allclose(found[2], np.exp(30 * np.tanh(y / 30)), rtol=1e-5)
    np.testing.assert_allclose(found[3], gelus, rtol=1e-5, atol=1e-6)
    assert np.array_equal(rounded, x.astype(ml_dtypes.bfloat16).view(np.uint16))
