"""Watches the promise that a score depends on the viewer and the candidate alone.

Now and then one candidate of a live request is scored again: alone, in the smallest bucket, with
its context encoded afresh. The difference must stay within rounding; its maximum is a metric that
an alarm can watch, because a broken promise shows in no other number.
"""

import logging
import random

import numpy as np

from phoenix.features import CandidateInputs
from phoenix.serving.inputs import Context
from phoenix.serving.loading import PROBABILITY_DIFFERENCE_MAX, probability_difference
from phoenix.serving.precision import products_type
from phoenix.serving.programs import slice_candidates
from phoenix.serving.served import Scores, ServedRanker
from phoenix.serving.telemetry import Telemetry
from phoenix.serving.worker import ModelWorker
from service_kit.clock import Clock

logger = logging.getLogger(__name__)


class Canary:
    """At most one check an interval, after the answer has gone out."""

    def __init__(
        self,
        worker: ModelWorker,
        telemetry: Telemetry,
        clock: Clock,
        rng: random.Random,
        *,
        interval_seconds: float,
    ) -> None:
        self._worker = worker
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng
        self._interval_s = interval_seconds
        self._next_s = float("-inf")
        self._version = ""
        self._worst = 0.0

    def due(self) -> bool:
        """Whether the next request should be checked; claims the slot."""
        now_s = self._clock.monotonic_s()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._interval_s
        return True

    async def check(
        self, model: ServedRanker, context: Context, candidates: CandidateInputs, answer: Scores
    ) -> float:
        """Difference of a random candidate's probabilities, alone against `answer`."""
        at = self._rng.randrange(len(answer.dwell_seconds))
        one = slice_candidates(candidates, at, at + 1)
        bucket = model.programs.shapes.candidate_buckets[0]
        alone = await self._worker.run(
            lambda: model.score_one(model.encode(context.inputs), one, bucket)
        )
        given = Scores(answer.log_probs[at : at + 1], answer.dwell_seconds[at : at + 1])
        difference = probability_difference(given, alone)
        self._record(model, difference)
        return difference

    def _record(self, model: ServedRanker, difference: float) -> None:
        if model.version != self._version:
            self._version, self._worst = model.version, 0.0
        self._worst = float(np.fmax(self._worst, difference))
        self._telemetry.canary_checks.inc()
        self._telemetry.canary_difference.observe(difference)
        self._telemetry.canary_difference_max.set(self._worst)
        limit = PROBABILITY_DIFFERENCE_MAX[products_type(model.programs.config, model.params)]
        if not difference <= limit:
            logger.error(
                "a score depends on its batch",
                extra={"difference": difference, "limit": limit, "model_version": model.version},
            )
