"""One viewer's attention, computed head by head, is the batch's attention and the plain formula."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phoenix.attention import OwnKeysValues, attend, attend_alone, attend_with_own, kept

TOLERANCE = {"float32": 2e-6, "bfloat16": 2e-2}
TOKENS, COUNT, SIZE = 9, 7, 6


def drawn(rng: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def plain(query, keys, values, seen, own):
    """Loops over queries and heads in float64: softmax of capped scores over what is seen."""
    query, keys, values = (np.asarray(x, np.float64) for x in (query, keys, values))
    count, heads, size = query.shape
    mixed = np.zeros((count, heads, size))
    for at in range(count):
        for head in range(heads):
            group = head // (heads // keys.shape[1])
            some_keys, some_values = keys[seen[at], group], values[seen[at], group]
            if own is not None:
                some_keys = np.vstack([some_keys, np.asarray(own[0])[at, group]])
                some_values = np.vstack([some_values, np.asarray(own[1])[at, group]])
            weights = np.exp(30 * np.tanh(some_keys @ query[at, head] / size**0.5 / 30))
            mixed[at, head] = weights @ some_values / weights.sum()
    return mixed.reshape(count, -1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_candidates_see_the_unmasked_context_and_themselves(dtype: str, groups: int) -> None:
    """A head that read another's keys, or a masked event, would change every ranking."""
    rng = np.random.default_rng(groups)
    query, keys, values = (
        drawn(rng, 1, COUNT, 4, SIZE),
        drawn(rng, 1, TOKENS, groups, SIZE),
        drawn(rng, 1, TOKENS, groups, SIZE),
    )
    own = OwnKeysValues(drawn(rng, 1, COUNT, groups, SIZE), drawn(rng, 1, COUNT, groups, SIZE))
    seen = rng.random((1, TOKENS)) < 0.6
    context = kept(keys, values, dtype)
    alone = np.asarray(attend_alone(query, context, jnp.asarray(seen), own, dtype)[0])
    batch = attend_with_own(query, context, jnp.asarray(seen), own, dtype=dtype, capped=True)[0]
    selves = (own.keys[0], own.values[0])
    expected = plain(query[0], keys[0], values[0], np.repeat(seen, COUNT, axis=0), selves)
    assert np.abs(alone - expected).max() < TOLERANCE[dtype]
    assert np.abs(np.asarray(batch) - expected).max() < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_context_tokens_see_what_the_mask_allows(dtype: str) -> None:
    """A causal model that looked ahead would be trained on what it is asked for."""
    rng = np.random.default_rng(5)
    query, keys, values = (drawn(rng, 1, TOKENS, 4, SIZE) for _ in range(3))
    mask = np.tri(TOKENS, dtype=bool)
    context = kept(keys, values, dtype)
    alone = np.asarray(attend_alone(query, context, jnp.asarray(mask), None, dtype)[0])
    batch = attend(query, context, jnp.asarray(mask)[None], dtype=dtype, capped=True)[0]
    expected = plain(query[0], keys[0], values[0], mask, None)
    assert np.abs(alone - expected).max() < TOLERANCE[dtype]
    assert np.abs(np.asarray(batch) - expected).max() < TOLERANCE[dtype]


def test_the_largest_scores_stay_finite() -> None:
    """Without a maximum taken off, the cap alone keeps an exponential from overflowing."""
    large = jnp.full((1, 2, 1, SIZE), 1e6)
    context = kept(large, large, "float32")
    mixed = jax.jit(attend_alone, static_argnums=4)(
        large, context, jnp.ones((1, 2), bool), OwnKeysValues(large, large), "float32"
    )
    assert np.allclose(mixed, 1e6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("groups", [4, 2])
def test_merged_viewers_each_get_what_they_would_alone(dtype: str, groups: int) -> None:
    """Small requests share a compiled call, which must run, and mix no viewer with another."""
    rng = np.random.default_rng(7)
    query = drawn(rng, 2, COUNT, 4, SIZE)
    keys, values = (drawn(rng, 2, TOKENS, groups, SIZE) for _ in range(2))
    own = OwnKeysValues(*(drawn(rng, 2, COUNT, groups, SIZE) for _ in range(2)))
    seen = jnp.asarray(rng.random((2, TOKENS)) < 0.6)
    compiled = jax.jit(attend_with_own, static_argnames=("dtype", "capped"))
    merged = compiled(query, kept(keys, values, dtype), seen, own, dtype=dtype, capped=True)
    for viewer in range(2):
        one = slice(viewer, viewer + 1)
        context, mine = kept(keys[one], values[one], dtype), OwnKeysValues(*(x[one] for x in own))
        alone = attend_alone(query[one], context, seen[one], mine, dtype)
        assert np.abs(np.asarray(merged[one]) - np.asarray(alone)).max() < TOLERANCE[dtype]
