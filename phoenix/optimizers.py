"""How the dense parameters descend: AdamW, or Muon for the matrices and AdamW for the rest.

Glossary: P all dense parameters as one flat vector, M those of the matrices.

The dense parameters are optimised as one flat vector: forty small arrays would be forty small
programs to compile, and compiling is a good part of a short training. Muon needs the matrices as
such: it replaces a matrix's momentum by the nearest orthogonal one (five Newton-Schulz steps).

Sources: Loshchilov and Hutter 2019 (AdamW); Jordan et al. 2024 (Muon); Liu et al. 2025, "Muon is
scalable for LLM training", for the factor .2 √max(rows, columns), which gives Muon's steps the
size of AdamW's, so that both take the same learning rate and weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

Array = jax.Array

GRADIENT_NORM_MAX = 1.0  # of the dense gradients
ADAM_B1, ADAM_B2 = 0.9, 0.98  # short memory: a demo's training has a few hundred steps
MUON_RMS = 0.2  # of a step's entries, as AdamW's are (Liu et al. 2025)
# Lookup tables by another name, and the last projections: Jordan et al. leave both to AdamW.
NOT_MUON = ("surface", "time_gap", "post_age", "hour", "head", "direct")


@dataclass(frozen=True, slots=True)
class DenseOptimizer:
    """Directions of descent for a flat vector of parameters; the rate is applied outside."""

    transformation: optax.GradientTransformation
    decayed: np.ndarray[Any, Any]  # [P], 1 for entries of matrices, 0 for scales and biases

    @classmethod
    def of(cls, name: str, dense: Any) -> DenseOptimizer:
        """`name`: "adamw" or "muon"; `dense` gives names and shapes. ValueError: another name."""
        makers = {"adamw": lambda: _adam(), "muon": lambda: _muon(dense)}
        if name not in makers:
            raise ValueError(f"optimizer must be one of {', '.join(makers)}, not {name!r}")
        clip = optax.clip_by_global_norm(GRADIENT_NORM_MAX)
        return cls(optax.chain(clip, makers[name]()), _decayed(dense))

    def init(self) -> Any:
        return self.transformation.init(jnp.zeros_like(self.decayed))

    def direction(self, gradient: Array, state: Any) -> tuple[Array, Any]:
        """[P] → [P] to go against, and the new state."""
        direction, new = self.transformation.update(gradient, state)
        return direction, new


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(ADAM_B1, ADAM_B2)


def _decayed(dense: Any) -> np.ndarray[Any, Any]:
    leaves = jax.tree.leaves(dense)
    return np.concatenate([np.full(leaf.size, leaf.ndim > 1, np.float32) for leaf in leaves])


def _muon(dense: Any) -> optax.GradientTransformation:
    """Over the flat vector: cut out the matrices, orthogonalise them, put them back.

    Matrices of one shape, or of its transpose, are one stack: a program for each shape is compiled.
    """
    flat, unflatten = ravel_pytree(
        jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), dense)
    )
    stacks = _stacks(dense)
    others = np.flatnonzero(_flat_mask(dense, _muon_names(dense)) == 0)
    rows_and_columns = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    muon = optax.contrib.scale_by_muon(
        weight_dimension_numbers=dict.fromkeys(stacks, rows_and_columns)
    )
    adam = _adam()

    def matrices(vector: Array) -> dict[str, Array]:
        tree = unflatten(vector)
        return {
            shape: jnp.stack([_lying(tree[module][name]) for module, name in names])
            for shape, names in stacks.items()
        }

    def init(vector: Array) -> Any:
        return muon.init(matrices(vector)), adam.init(vector[others])

    def update(vector: Array, state: Any, params: Any = None) -> tuple[Array, Any]:
        turned, muon_state = muon.update(matrices(vector), state[0])
        rest, adam_state = adam.update(vector[others], state[1])
        tree = unflatten(jnp.zeros_like(flat).at[others].set(rest))
        for shape, names in stacks.items():
            for matrix, (module, name) in zip(turned[shape], names, strict=True):
                scaled = MUON_RMS * np.sqrt(max(matrix.shape)) * matrix
                upright = tree[module][name].shape != matrix.shape
                tree[module][name] = scaled.T if upright else scaled
        return ravel_pytree(tree)[0], (muon_state, adam_state)

    return optax.GradientTransformation(init, update)


def _lying(matrix: Array) -> Array:
    """No more rows than columns; the nearest orthogonal matrix of a transpose is the transpose."""
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


def _stacks(dense: Any) -> dict[str, list[tuple[str, str]]]:
    """Names of Muon's matrices by shape, "rows x columns" with no more rows than columns."""
    stacks: dict[str, list[tuple[str, str]]] = {}
    for module, name in _muon_names(dense):
        rows, columns = sorted(dense[module][name].shape)
        stacks.setdefault(f"{rows}x{columns}", []).append((module, name))
    return stacks


def _muon_names(dense: Any) -> list[tuple[str, str]]:
    return [
        (module, name)
        for module, named in sorted(dense.items())
        for name, leaf in sorted(named.items())
        if leaf.ndim == 2 and min(leaf.shape) > 1 and name not in NOT_MUON
    ]


def _flat_mask(dense: Any, names: list[tuple[str, str]]) -> np.ndarray[Any, Any]:
    """[P]: 1 where a matrix of Muon's is."""
    chosen = set(names)
    marked = {
        module: {
            name: np.full(leaf.shape, (module, name) in chosen, np.float32)
            for name, leaf in named.items()
        }
        for module, named in dense.items()
    }
    return np.asarray(ravel_pytree(marked)[0])
