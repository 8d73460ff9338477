"""Working memory of the kernels, kept from call to call.

Glossary as in `phoenix.fused.steps`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from phoenix.config import RankerConfig
from phoenix.fused.instructions import PANEL
from phoenix.fused.operands import ByteRows, Bytes
from phoenix.fused.packing import whole
from phoenix.fused.steps import Floats, Halves, Heads, Layers, Scratch
from phoenix.layers import ffn_width


def heads_of(config: RankerConfig) -> Heads:
    wide = ffn_width(config.width, config.widening)
    return Heads(config.heads, config.kv_heads, config.key_size, wide)


class Scratches:
    """As many as were ever in use at once. Safe to call from several threads."""

    def __init__(self, config: RankerConfig, rows: int) -> None:
        """``rows`` of the largest tile."""
        self._config, self._rows = config, rows
        self._idle: dict[bool, deque[Scratch]] = {False: deque(), True: deque()}

    @contextmanager
    def one(self, layers: Layers) -> Iterator[Scratch]:
        """For one call at a time with such layers; what failed half-way is not used again."""
        of_bytes = isinstance(layers.inputs, Bytes)
        try:
            scratch = self._idle[of_bytes].pop()
        except IndexError:
            scratch = empty_scratch(self._config, self._rows, of_bytes)
        yield scratch
        self._idle[of_bytes].append(scratch)


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
