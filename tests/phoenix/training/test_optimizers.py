"""Muon turns matrices and leaves the rest to AdamW."""

from __future__ import annotations

import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from phoenix.optimizers import MUON_RMS, DenseOptimizer
from phoenix.training_options import TrainingOptions


def test_muon_steps_are_orthogonal_matrices_and_the_rest_is_adams():
    """A step in which one direction drowns the others is what Muon is there to avoid."""
    rng = np.random.default_rng(0)
    dense = {
        "a": {"wide": np.zeros((4, 12)), "tall": np.zeros((12, 4)), "bias": np.zeros(5)},
        "b": {"wide": np.zeros((4, 12)), "surface": np.zeros((6, 4))},
    }
    gradient = {
        module: {name: rng.standard_normal(leaf.shape) for name, leaf in named.items()}
        for module, named in dense.items()
    }
    gradient["a"]["wide"] *= 1e-3  # whatever the size of a gradient
    flat, unflatten = ravel_pytree(
        {m: {n: v.astype(np.float32) for n, v in named.items()} for m, named in gradient.items()}
    )
    muon, adam = DenseOptimizer.of("muon", dense), DenseOptimizer.of("adamw", dense)
    turned = unflatten(muon.direction(flat, muon.init())[0])
    plain = unflatten(adam.direction(flat, adam.init())[0])
    scale = MUON_RMS * np.sqrt(12)
    for module, name in (("a", "wide"), ("a", "tall"), ("b", "wide")):
        ours, theirs = np.asarray(turned[module][name]) / scale, gradient[module][name]
        singular = np.linalg.svd(ours, compute_uv=False)
        assert ((singular > 0.6) & (singular < 1.3)).all()
        # Newton and Schulz keep the singular vectors: only their sizes become alike.
        left, _, right = np.linalg.svd(theirs, full_matrices=False)
        assert (
            np.abs(left.T @ ours @ right.T - np.diag(np.diag(left.T @ ours @ right.T))).max() < 0.02
        )
    for module, name in (("a", "bias"), ("b", "surface")):
        assert np.allclose(turned[module][name], plain[module][name], atol=1e-6)


def test_an_optimizer_that_is_not_known_is_refused():
    """A typing error must not train with another one."""
    with pytest.raises(ValueError, match="adamw or muon"):
        TrainingOptions(steps=1, optimizer="adam")
    with pytest.raises(ValueError, match="adamw, muon"):
        DenseOptimizer.of("adam", {"a": {"w": np.zeros((2, 2))}})
