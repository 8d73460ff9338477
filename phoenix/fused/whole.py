"""From a request's arrays to its answers: the two kernels of a whole ranker.

Glossary as in `phoenix.fused.ends`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix.fused.answers import give_answers
from phoenix.fused.ends import Asked, Facts, History, Viewer, Whole
from phoenix.fused.events import make_context
from phoenix.fused.facts import make_tokens
from phoenix.fused.instructions import kernel, take
from phoenix.fused.layers import encode_layers, pass_layers
from phoenix.fused.steps import Floats, Heads, Scratch


@kernel
def score_tiles(
    asked: Asked,
    viewer: Viewer,
    whole: Whole,
    heads: Heads,
    scratch: Scratch,
    facts: Facts,
    tiles: NDArray[np.int64],
    counter: NDArray[np.int64],
    log_probs: Floats,
    seconds: Floats,
) -> None:
    """Candidates → [C, A] and [C]; `tiles` and `counter` as in `run_tiles`."""
    while True:
        tile = take(counter)
        if tile >= len(tiles) - 1:
            return
        start, count = tiles[tile], tiles[tile + 1] - tiles[tile]
        make_tokens(asked, start, viewer, whole.ends, scratch, facts, count)
        pass_layers(whole.layers, heads, viewer.context, scratch, count)
        give_answers(asked, start, whole.ends, scratch, facts, log_probs, seconds, count)


@kernel
def encode_viewer(
    history: History,
    turns: Floats,
    whole: Whole,
    heads: Heads,
    is_causal: bool,
    viewer: Viewer,
    taste: Floats,
    scratch: Scratch,
    facts: Facts,
) -> None:
    """A context → `viewer`, which is zeros; `taste` [M, X + E] is room."""
    make_context(history, whole.opening, whole.ends, viewer, taste, scratch, facts)
    encode_layers(history.seen, turns, whole.layers, heads, is_causal, viewer.context, scratch)
