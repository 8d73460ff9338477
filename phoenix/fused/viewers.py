"""A whole ranker in kernels, from a request's arrays to its answers: XLA is not asked at all.

Between programs of XLA and a kernel, arrays change hands four times a request, and what stands
around the layers is small: as programs of its own it took as long as half of the layers.

Glossary as in `phoenix.fused.ends`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from phoenix.config import RankerConfig
from phoenix.features import CandidateInputs, ContextInputs
from phoenix.fused.context import turns_of
from phoenix.fused.ends import Asked, Facts, History, Viewer, Whole
from phoenix.fused.instructions import ROWS
from phoenix.fused.layers import TILE_ROWS
from phoenix.fused.packing import room, whole
from phoenix.fused.scratch import Pool, Scratches, heads_of
from phoenix.fused.steps import Floats
from phoenix.fused.team import Counter, Team, Tiles
from phoenix.fused.whole import encode_viewer, score_tiles
from phoenix.tokens import DWELL_HIDDEN

Scalar = TypeVar("Scalar", bound=np.generic)


class WholeRanker:
    """Safe to call from several threads at once; each call blocks until its numbers are there."""

    def __init__(self, config: RankerConfig, threads: int | None = None) -> None:
        self._config, self._heads, self._turns = config, heads_of(config), turns_of(config)
        self._team = Team(threads)
        context_rows = -(-(1 + config.history_length) // ROWS) * ROWS
        self._contexts, self._tiles = (Scratches(config, n) for n in (context_rows, TILE_ROWS))
        self._context_facts, self._tile_facts = (
            Pool(partial(_empty_facts, config, n)) for n in (context_rows, TILE_ROWS)
        )

    def encode(self, parameters: Whole, inputs: ContextInputs) -> Viewer:
        """One context [1, S, …]."""
        c, history = self._config, _history(inputs)
        events, each = len(history.seen) - 1, c.embedding_width
        viewer = Viewer(
            room(c.layers, c.kv_heads, c.key_size, 1 + events),
            np.zeros((c.num_hashes, events), np.int32),
            np.zeros((events, c.num_actions + 2), np.float32),
            np.zeros((c.profile_channels, 2 * c.num_hashes * each), np.float32),
        )
        taste = np.empty((c.profile_channels, viewer.profile.shape[1] + each), np.float32)
        with self._contexts.one(parameters.layers) as scratch, self._context_facts.one() as facts:
            encode_viewer(
                history, self._turns, parameters, self._heads, c.causal, viewer, taste, scratch,
                facts,
            )  # fmt: skip
        return viewer

    def score(
        self, parameters: Whole, viewer: Viewer, inputs: CandidateInputs
    ) -> tuple[Floats, Floats]:
        """Candidates [1, C, …] of the viewer → log probabilities [1, C, A], seconds [1, C]."""
        asked = _asked(inputs)
        count = len(asked.ages)
        log_probs = np.empty((1, count, self._config.num_actions), np.float32)
        seconds = np.empty((1, count), np.float32)

        def work(tiles: Tiles, counter: Counter) -> None:
            with self._tiles.one(parameters.layers) as scratch, self._tile_facts.one() as facts:
                score_tiles(
                    asked, viewer, parameters, self._heads, scratch, facts, tiles, counter,
                    log_probs[0], seconds[0],
                )  # fmt: skip

        self._team.share(count, work)
        return log_probs, seconds


def _empty_facts(config: RankerConfig, rows: int) -> Facts:
    """Zeros; ``rows`` of the largest tile."""
    c, past = config, config.num_actions + 2
    rows_of_post = 2 * c.num_hashes * c.embedding_width
    facts = rows_of_post + c.profile_channels + past * c.author_match
    event = rows_of_post + c.num_actions + DWELL_HIDDEN
    return Facts(
        np.zeros((rows, facts + c.width), np.float32),
        np.zeros((rows, -(-max(facts, event) // 2) * 2), np.uint16),
        np.zeros((rows, whole(c.num_actions + 1)), np.float32),
    )


def _history(inputs: ContextInputs) -> History:
    seen = 1 + np.flatnonzero(np.asarray(inputs.history_mask)[0])
    return History(
        user=_of_one(inputs.user_hashes, np.int32),
        posts=_of_one(inputs.history_post_hashes, np.int32),
        authors=_of_one(inputs.history_author_hashes, np.int32),
        actions=_of_one(inputs.history_actions, np.float32),
        dwell=_of_one(inputs.history_dwell_seconds, np.float32),
        surfaces=_of_one(inputs.history_surface, np.int32),
        ages=_of_one(inputs.history_age_seconds, np.float32),
        seen=np.concatenate([np.zeros(1, np.int64), seen]),
    )


def _asked(inputs: CandidateInputs) -> Asked:
    return Asked(
        posts=_of_one(inputs.post_hashes, np.int32),
        authors=_of_one(inputs.author_hashes, np.int32),
        surfaces=_of_one(inputs.surface, np.int32),
        ages=_of_one(inputs.age_seconds, np.float32),
    )


def _of_one(values: Any, dtype: type[Scalar]) -> NDArray[Scalar]:
    """A batch of one → its one, as kernels are compiled for: contiguous, in this type."""
    return np.ascontiguousarray(values[0], dtype)
