"""In which type a ranker in service multiplies: what its checkpoint says, or another.

bfloat16 halves the bytes of matrices and cached contexts and doubles a core's multiplications;
sums, norms, softmax and the last layer stay float32. The parameters are converted once, when the
model is loaded, and what that costs is measured there on a made-up request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from phoenix.config import Precision, RankerConfig
from phoenix.fused.candidates import runs_here
from phoenix.fused.packing import packed_layers

PACKED = (
    "packed"  # in a ranker's parameters: its layers as the kernel of `phoenix.fused` reads them
)


def served_config(config: RankerConfig, precision: Precision) -> RankerConfig:
    """The configuration that serves a checkpoint's."""
    return config if precision == "checkpoint" else replace(config, compute_dtype=precision)


def resident(config: RankerConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters on the device, the layers' matrices in the type that they are multiplied in.

    They are nearly all of the dense numbers, and every one is multiplied in that type anyway:
    converting them here instead of in each call changes no result. Where `phoenix.fused` can run
    the layers, they are there a second time, packed for it.
    """
    dense = {
        module: {name: _converted(module, value, config) for name, value in named.items()}
        for module, named in params["dense"].items()
    }
    on_device: dict[str, Any] = jax.device_put({"dense": dense, "tables": params["tables"]})
    if runs_here(config):
        on_device[PACKED] = packed_layers(config, dense)
    return on_device


def _converted(module: str, value: Any, config: RankerConfig) -> Any:
    is_layers_matrix = module.startswith("ranker/~/layer_") and np.ndim(value) == 2
    return value.astype(config.compute_dtype) if is_layers_matrix else value
