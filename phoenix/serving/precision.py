"""In which type a ranker in service multiplies: what its checkpoint says, or another.

bfloat16 halves the bytes of matrices and cached contexts and doubles a core's multiplications;
sums, norms, softmax and the last layer stay float32. int8 doubles them once more, for the layers'
matrices alone and only where `phoenix.fused` runs them: everything else is then bfloat16. The
parameters are converted once, when the model is loaded, and what that costs is measured there on a
made-up request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import jax
import numpy as np

from phoenix.config import Precision, RankerConfig
from phoenix.fused.candidates import runs_here
from phoenix.fused.ends import knows
from phoenix.fused.instructions import has_byte_instructions
from phoenix.fused.operands import Bytes
from phoenix.fused.pack_ends import packed_whole
from phoenix.fused.packing import packed_layers

ProductsType = Literal["float32", "bfloat16", "int8"]

WHOLE = "whole"  # the same with all that stands around the layers, where kernels know the model
PACKED = (
    "packed"  # in a ranker's parameters: its layers as the kernel of `phoenix.fused` reads them
)


def served_config(config: RankerConfig, precision: Precision) -> RankerConfig:
    """The configuration that serves a checkpoint's."""
    if precision == "checkpoint":
        return config
    return replace(config, compute_dtype="bfloat16" if precision == "int8" else precision)


def resident(
    config: RankerConfig, params: Mapping[str, Any], of_bytes: bool = False
) -> dict[str, Any]:
    """Parameters on the device, the layers' matrices in the type that they are multiplied in.

    They are nearly all of the dense numbers, and every one is multiplied in that type anyway:
    converting them here instead of in each call changes no result. Where `phoenix.fused` can run
    the layers, they are there a second time, packed for it: `of_bytes`, where it multiplies them.
    """
    dense = {
        module: {name: _converted(module, value, config) for name, value in named.items()}
        for module, named in params["dense"].items()
    }
    on_device: dict[str, Any] = jax.device_put({"dense": dense, "tables": params["tables"]})
    if runs_here(config):
        of_bytes = of_bytes and has_byte_instructions()
        exact = params["dense"] if of_bytes else dense
        on_device[PACKED] = packed_layers(config, exact, of_bytes)
    if knows(config):
        on_device[WHOLE] = packed_whole(
            config, params["dense"], on_device["tables"], on_device[PACKED]
        )
    return on_device


def products_type(config: RankerConfig, params: Mapping[str, Any]) -> ProductsType:
    """In which type such parameters are multiplied, the layers' matrices at least."""
    of_bytes = PACKED in params and isinstance(params[PACKED].inputs, Bytes)
    return "int8" if of_bytes else config.compute_dtype


def _converted(module: str, value: Any, config: RankerConfig) -> Any:
    is_layers_matrix = module.startswith("ranker/~/layer_") and np.ndim(value) == 2
    return value.astype(config.compute_dtype) if is_layers_matrix else value
