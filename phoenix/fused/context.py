"""The layers of a ranker over one viewer's context: the keys and values that candidates read.

Only tokens that are there pass them; the others' keys and values are zeros, which nobody sees.

Glossary as in `phoenix.fused.steps`; T context tokens.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from phoenix.attention import KeysValues
from phoenix.config import RankerConfig
from phoenix.fused.instructions import ROWS
from phoenix.fused.layers import run_context
from phoenix.fused.packing import room, unpacked
from phoenix.fused.scratch import Scratches, heads_of
from phoenix.fused.steps import Floats, Layers
from phoenix.layers import rotate
from phoenix.ranker import context_positions


class ContextLayers:
    """Safe to call from several threads at once; a call runs on its caller's."""

    def __init__(self, config: RankerConfig) -> None:
        self._config = config
        self._turns = turns_of(config)
        self._heads = heads_of(config)
        self._scratches = Scratches(config, -(-(1 + config.history_length) // ROWS) * ROWS)

    def run(self, layers: Layers, hidden: Floats, mask: NDArray[np.bool_]) -> KeysValues:
        """Tokens [T, D] and which are there [T] → all layers' keys [L, 1, G, K, T] and values."""
        c, seen = self._config, np.flatnonzero(mask)
        context = room(c.layers, c.kv_heads, c.key_size, len(seen))
        with self._scratches.one(layers) as scratch:
            run_context(hidden, seen, self._turns, layers, self._heads, c.causal, context, scratch)
        keys, values = unpacked(context, c.key_size)
        every = np.zeros((c.layers, 1, c.kv_heads, len(hidden), c.key_size), np.uint16)
        upright, across = every.swapaxes(3, 4).copy(), every
        upright[:, 0, :, :, seen] = np.moveaxis(keys, 3, 0)
        across[:, 0, :, seen] = np.moveaxis(values, 2, 0)
        kept = (array.view(ml_dtypes.bfloat16) for array in (upright, across))
        found: KeysValues = jax.device_put(KeysValues(*kept))
        return found


def turns_of(config: RankerConfig) -> Floats:
    """[T, 2, K / 2]: what `rotate` makes of ones beside zeros, which are cosines and sines."""
    positions = context_positions(config.history_length, config.history_length)
    half = config.key_size // 2
    unit = jnp.concatenate([jnp.ones(half), jnp.zeros(half)])
    turned = rotate(jnp.broadcast_to(unit, (1, len(positions), 1, 2 * half)), positions)
    return np.asarray(turned).reshape(len(positions), 2, half)
