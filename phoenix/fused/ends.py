"""What stands around the layers: the arrays that kernels read, and for which models they do.

Glossary: C candidates, S events that are there, J hashes of an id, E table width, X = 2 J E numbers
of a post's and an author's rows, M channels of the taste profile, P what is counted of an event (A
actions, one, dwell; none where authors are not matched), F = X + M + P facts of a candidate, D
width, O = A + 1 outputs, N hidden units of the dwell input. Matrices named "packed" lie as
`phoenix.fused.blocks` takes them.

Surfaces and ages are categories: what their rows add to a product is in a table, not in the
product. What buckets there are is asked of the model's own functions (`bounds` in
`phoenix.fused.pack_ends`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix.config import RankerConfig
from phoenix.fused.candidates import runs_here
from phoenix.fused.steps import Context, Floats, Halves, Layers

Ints = NDArray[np.int32]


def knows(config: RankerConfig) -> bool:
    """Whether the kernels read all that this model reads, and can run in this process."""
    unknown = (c := config).tag_rows or c.durations or c.time_of_day or c.rates
    return runs_here(c) and not (unknown or c.content_width or c.wide_action)


class Asked(NamedTuple):
    """One viewer's candidates."""

    posts: Ints  # [C, J] hashes
    authors: Ints  # [C, J]
    surfaces: Ints  # [C]
    ages: Floats  # [C] seconds


class History(NamedTuple):
    """A viewer and their events."""

    user: Ints  # [J] hashes
    posts: Ints  # [T - 1, J]
    authors: Ints  # [T - 1, J]
    actions: Floats  # [T - 1, A]
    dwell: Floats  # [T - 1] seconds
    surfaces: Ints  # [T - 1]
    ages: Floats  # [T - 1] seconds
    seen: NDArray[np.int64]  # [1 + S] tokens that are there: the viewer (0) and 1 + an event's row


class Viewer(NamedTuple):
    """An encoded context: what candidates meet of it."""

    context: Context
    authors: Ints  # [J, S] hashes
    past: Floats  # [S, P]
    profile: Floats  # [M, X]: the product with a candidate's rows is its agreement


class Ends(NamedTuple):
    """Parameters before a candidate's layers and behind them."""

    posts: Floats  # [rows, E]
    authors: Floats  # [rows, E]
    token: Halves  # packed [F, D]
    token_surface: Floats  # [surfaces, D]
    token_age: Floats  # [buckets, D]
    ages_from: Floats  # [buckets - 1] seconds at which the second and later buckets begin
    norm: Floats  # [D]
    answer: Floats  # packed [F + D, O]
    answer_surface: Floats  # [surfaces, O in whole panels], with the bias
    answer_age: Floats  # [buckets, O in whole panels]
    seconds: Floats  # [1]: the correction of expected dwell


class Opening(NamedTuple):
    """Parameters before a context's layers, and of the taste profile."""

    users: Floats  # [rows, E]
    user_token: Halves  # packed [J E, D]
    user_bias: Floats  # [D]
    event_token: Halves  # packed [X + A + N, D]: rows, actions, dwell
    event_surface: Floats  # [surfaces, D]
    event_gap: Floats  # [buckets, D]
    gaps_from: Floats  # [buckets - 1] seconds
    dwell_hidden: Floats  # [2, N]
    dwell_bias: Floats  # [N]
    dwell_scale: Floats  # [1] seconds
    profile_past: Floats  # [A + 2, M]
    profile_user: Floats  # [J E, M E]
    item: Floats  # [X, E]


class Whole(NamedTuple):
    """All of a ranker's parameters, as kernels read them."""

    layers: Layers
    ends: Ends
    opening: Opening


class Facts(NamedTuple):
    """One thread's own for one tile of R rows."""

    floats: Floats  # [R, F + D or X of an event]
    halves: Halves  # [R, F or X + A + N of an event, even]
    answers: Floats  # [R, O in whole panels]
