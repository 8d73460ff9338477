"""The kinds of index that a deployment can choose."""

from typing import assert_never

import numpy as np

from phoenix.index.device import DeviceIndex
from phoenix.index.exact import ExactIndex
from phoenix.index.search import IndexKind, SearchFilters, VectorIndex


def new_index(kind: IndexKind, dimension: int, *, rows_max: int) -> VectorIndex:
    """An empty index for `rows_max` posts of width `dimension`."""
    match kind:
        case "int8":
            return ExactIndex(dimension, rows_max=rows_max)
        case "float32":
            return ExactIndex(dimension, rows_max=rows_max, codes=False)
        case "device":
            return DeviceIndex(dimension, rows_max=rows_max)
        case "device_approximate":
            return DeviceIndex(dimension, rows_max=rows_max, approximate=True)
        case _:
            assert_never(kind)


def warm_up(kind: IndexKind) -> None:
    """Compiles the kernels of an index before a request needs them."""
    index = new_index(kind, 2, rows_max=3)
    ids = np.arange(1, 4, dtype=np.uint64)
    index.upsert(ids, ids, np.zeros(3, np.int64), np.ones((3, 2), np.float32))
    one = np.ones(1, np.uint64)
    index.search(np.ones(2, np.float32), 1, SearchFilters(0, one, one))  # more tie than wanted
    index.remove([1])
