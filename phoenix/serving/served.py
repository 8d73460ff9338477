"""A model in service: one checkpoint's parameters and the programs that run them.

C candidates, A actions, N posts, D width of the towers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from phoenix.calibration import Calibration
from phoenix.features import CandidateInputs, ContextInputs, author_hashes, post_hashes
from phoenix.serving.buckets import chunks
from phoenix.serving.programs import (
    Encoded,
    Params,
    RankerPrograms,
    RetrievalPrograms,
    pad_candidates,
)


class Scores(NamedTuple):
    """Of one viewer's candidates."""

    log_probs: NDArray[np.float32]  # [C, A]
    dwell_seconds: NDArray[np.float32]  # [C]


@dataclass(frozen=True, eq=False, slots=True)
class ServedRanker:
    """Runs on the calling thread; every method blocks until the numbers are there.

    Probabilities leave it calibrated.
    """

    version: str
    programs: RankerPrograms
    params: Params
    calibration: Calibration = field(default_factory=Calibration)
    precision_error: float = 0.0  # of a probability, from the products' type; 0 in float32

    def encode(self, context: ContextInputs) -> Encoded:
        """One context [1, S, …]."""
        cache: Encoded = self.programs.encode(self.params, context)
        return cache

    def score_one(self, cache: Encoded, candidates: CandidateInputs, bucket: int) -> Scores:
        """At most `bucket` candidates [1, C, …] of one viewer."""
        count = candidates.surface.shape[1]
        program = self.programs.score[1, bucket]
        if not self.programs.is_whole:
            candidates = pad_candidates(candidates, bucket)
        found = jax.device_get(program(self.params, (cache,), candidates))
        return Scores(self._calibrated(found[0][0, :count]), found[1][0, :count])

    def score_merged(
        self, caches: Sequence[Encoded], candidates: Sequence[CandidateInputs]
    ) -> list[Scores]:
        """Small requests of up to `merged_viewers` viewers in one call, or one after another where
        a call costs next to nothing."""
        if self.programs.is_whole:
            size = self.programs.shapes.merged_candidates
            pairs = zip(caches, candidates, strict=True)
            return [self.score_one(cache, one, size) for cache, one in pairs]
        viewers, size = self.programs.shapes.merged_viewers, self.programs.shapes.merged_candidates
        missing = viewers - len(caches)
        rows = [pad_candidates(one, size) for one in candidates]
        rows += [rows[0]] * missing
        merged = jax.tree.map(lambda *columns: np.concatenate(columns), *rows)
        program = self.programs.score[viewers, size]
        log_probs, dwell = jax.device_get(
            program(self.params, (*caches, *[caches[0]] * missing), merged)
        )
        counts = [one.surface.shape[1] for one in candidates]
        log_probs = self._calibrated(log_probs)
        return [Scores(log_probs[at, :n], dwell[at, :n]) for at, n in enumerate(counts)]

    def _calibrated(self, log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.calibration.log_probs(self.programs.config.action_names, log_probs)


@dataclass(frozen=True, eq=False, slots=True)
class ServedRetrieval:
    """Both towers of one checkpoint; vectors of different checkpoints must never meet."""

    version: str
    programs: RetrievalPrograms
    params: Params

    @property
    def dimension(self) -> int:
        """D."""
        return self.programs.config.output_width

    def user_vector(self, context: ContextInputs) -> NDArray[np.float32]:
        """[D], of one context [1, S, …]."""
        vectors: Any = jax.device_get(self.programs.user(self.params, context))
        return np.asarray(vectors[0], np.float32)

    def post_vectors(
        self, post_ids: NDArray[np.uint64], author_ids: NDArray[np.uint64]
    ) -> NDArray[np.float32]:
        """[N, D] for any N, in chunks of the compiled sizes."""
        config = self.programs.config
        posts = post_hashes(config, post_ids.astype(np.int64))
        authors = author_hashes(config, author_ids.astype(np.int64))
        vectors = np.zeros((len(post_ids), self.dimension), np.float32)
        for chunk in chunks(len(post_ids), self.programs.shapes.post_buckets):
            rows = slice(chunk.start, chunk.stop)
            padding = ((0, chunk.bucket - (chunk.stop - chunk.start)), (0, 0))
            found = self.programs.posts[chunk.bucket](
                self.params, np.pad(posts[rows], padding), np.pad(authors[rows], padding)
            )
            vectors[rows] = jax.device_get(found)[: chunk.stop - chunk.start]
        return vectors
