"""Working memory of the kernels, kept from call to call.

Glossary as in `phoenix.fused.steps`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from phoenix.config import RankerConfig
from phoenix.fused.instructions import PANEL
from phoenix.fused.operands import ByteRows, Bytes
from phoenix.fused.packing import whole
from phoenix.fused.steps import Floats, Halves, Heads, Layers, Scratch
from phoenix.layers import ffn_width

T = TypeVar("T")


def heads_of(config: RankerConfig) -> Heads:
    wide = ffn_width(config.width, config.widening)
    return Heads(config.heads, config.kv_heads, config.key_size, wide)


class Pool(Generic[T]):
    """As many as were ever in use at once. Safe to call from several threads."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._idle: deque[T] = deque()

    @contextmanager
    def one(self) -> Iterator[T]:
        """For one call at a time; what failed half-way is not used again."""
        try:
            found = self._idle.pop()
        except IndexError:
            found = self._make()
        yield found
        self._idle.append(found)


class Scratches:
    """For layers in bfloat16 and in bytes."""

    def __init__(self, config: RankerConfig, rows: int) -> None:
        """``rows`` of the largest tile."""
        self._pools = {
            of_bytes: Pool(partial(empty_scratch, config, rows, of_bytes))
            for of_bytes in (False, True)
        }

    def one(self, layers: Layers) -> AbstractContextManager[Scratch]:
        """For one call at a time with such layers."""
        return self._pools[isinstance(layers.inputs, Bytes)].one()


def empty_scratch(config: RankerConfig, rows: int, of_bytes: bool) -> Scratch:
    """Zeros: rows that are not real go through the products as well."""
    heads = heads_of(config)
    every = heads.heads * heads.key_size
    joined = every + 2 * heads.groups * heads.key_size
    tokens = whole(1 + config.history_length)
    widest = whole(max(config.width, every, heads.ffn_width))

    def floats(*columns: int) -> Floats:
        return np.zeros((rows, *columns), np.float32)

    def halves(columns: int) -> Halves:
        return np.zeros((rows, columns), np.uint16)

    def left(columns: int) -> Halves | ByteRows:
        if of_bytes:
            return ByteRows(np.zeros((rows, columns), np.uint8), floats())
        return halves(columns)

    operand, narrow, query = left(widest), left(whole(config.width)), halves(whole(every))
    if not isinstance(narrow, ByteRows):  # a head's queries are read before
        narrow = query = halves(whole(max(config.width, every)))
    return Scratch(
        hidden=floats(config.width),
        operand=operand,
        narrow=narrow,
        parts=floats(widest) if isinstance(operand, ByteRows) else operand,
        query=query,
        weights=halves(tokens),
        projected=floats(whole(max(joined, config.width))),
        scores=floats(tokens),
        mixed=floats(whole(heads.key_size)),
        gates=floats(PANEL),
        values=floats(PANEL),
        own=floats(),
        totals=floats(),
        inverse=floats(),
    )
