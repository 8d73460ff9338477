"""Asks phoenix for every action's probability for each candidate.

A repost is scored as its original, by its original's author. A request carries at most
``phoenix_max_candidates``; further candidates go in further requests at the same time, and as a
score depends on nothing but its own candidate, the split cannot be seen. p = exp(log_prob).

A post id past ``ID_MAX`` is sent to no model, which would refuse the whole request for it: that
candidate stays unscored, the others do not, and the reason says ``impossible_ids``.

When phoenix does not answer, its columns stay NaN, the reason is in ``degraded_reasons``, and
WeightedScorer ranks by its stated fallback. Deviation: the original serves such a feed as scored.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Scorer
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.candidate_messages import candidate_bytes
from home_mixer.clients.grpc_channel import call
from home_mixer.clients.phoenix_messages import Predict, SequenceMessages, product_surface
from home_mixer.columns import HEAD_COLUMNS
from home_mixer.deadline import call_timeout_s
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.final_score import Reals
from home_mixer.scorers.head_columns import DWELL_TIME_COLUMN, PROBABILITY_COLUMNS
from protos import phoenix_pb2
from service_kit.clock import Clock
from service_kit.snowflake import ID_MAX

PREDICTIONS_REMEMBERED = 4_096  # those whose model can be named: far more than run at once

Response = phoenix_pb2.PredictNextActionsResponse


class PhoenixScorer(Scorer[ScoredPostsQuery]):
    reads = frozenset(
        {"post_id", "author_id", "reposted_post_id", "reposted_user_id", "video_duration_ms"}
    )
    writes = frozenset({"last_scored_at_ms", "prediction_request_id"})
    optional_writes = frozenset(HEAD_COLUMNS)  # those that the model has

    def __init__(
        self,
        method: Predict,
        budget_ms: float,
        clock: Clock,
        sequences: SequenceMessages | None = None,
    ) -> None:
        """``sequences``: shared with retrieval, which asks for the same viewer before."""
        self._method = method
        self._sequences = sequences or SequenceMessages()
        self.budget_ms = budget_ms
        self._clock = clock
        self._predictions: OrderedDict[int, tuple[str, int]] = OrderedDict()

    async def score(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        size = query.params.phoenix_max_candidates
        rows = np.flatnonzero(scored_ids(table)[0] <= ID_MAX)
        parts = [table.take(rows[at : at + size]) for at in range(0, len(rows), size)]
        requests = [self._request(query, part) for part in parts]
        timeout_s = call_timeout_s(self.budget_ms)
        responses = await asyncio.gather(
            *(call(self._method, request, timeout_s, query.request_id) for request in requests)
        )
        self._remember(responses)
        columns = _spread(self._columns([len(part) for part in parts], responses), rows, len(table))
        if len({response.model_version for response in responses}) > 1:
            raise Degraded("mixed_models", columns)  # a model was swapped between two requests
        if len(rows) < len(table):
            raise Degraded("impossible_ids", columns)
        return columns

    def model_version(self, prediction_request_id: int) -> str:
        """The model behind a recent prediction; "" when it is not known any more."""
        return self._predictions.get(prediction_request_id, ("", 0))[0]

    def context_at_ms(self, prediction_request_id: int) -> int:
        """From when a recent prediction counted the history's ages; 0 when it is not known."""
        return self._predictions.get(prediction_request_id, ("", 0))[1]

    def _request(self, query: ScoredPostsQuery, table: CandidateTable) -> bytes:
        """A PredictNextActionsRequest."""
        post_ids, author_ids = scored_ids(table)
        request = phoenix_pb2.PredictNextActionsRequest(
            request_id=query.request_id,
            sequence=self._sequences.of(query, query.params.scoring_sequence_length),
            product_surface=product_surface(query),
            now_ms=query.now_ms,
        )
        candidates = candidate_bytes(post_ids, author_ids, table["video_duration_ms"])
        return request.SerializeToString() + candidates

    def _remember(self, responses: Sequence[Response]) -> None:
        for response in responses:
            what = response.model_version, response.context_at_ms
            self._predictions[response.prediction_request_id] = what
        while len(self._predictions) > PREDICTIONS_REMEMBERED:
            self._predictions.popitem(last=False)

    def _columns(self, counts: Sequence[int], responses: Sequence[Response]) -> dict[str, AnyArray]:
        parts = [_heads(n, response) for n, response in zip(counts, responses, strict=True)]
        columns = dict(parts[0]) if len(parts) == 1 else _joined(counts, parts)
        total = sum(counts)
        ids = np.array([response.prediction_request_id for response in responses], np.uint64)
        columns["last_scored_at_ms"] = np.full(total, self._clock.now_ms(), np.int64)
        columns["prediction_request_id"] = np.repeat(ids, np.array(counts, np.intp))
        return columns


def scored_ids(table: CandidateTable) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """(post ids, author ids), each [N]: a repost's are its original's."""
    is_repost = table["reposted_post_id"] != 0
    has_user = is_repost & (table["reposted_user_id"] != 0)
    return (
        np.where(is_repost, table["reposted_post_id"], table["post_id"]),
        np.where(has_user, table["reposted_user_id"], table["author_id"]),
    )


def _spread(columns: dict[str, AnyArray], rows: AnyArray, count: int) -> dict[str, AnyArray]:
    """Columns of ``rows`` as columns [count]; NaN or 0 elsewhere."""
    if len(rows) == count:
        return columns
    spread = {}
    for name, values in columns.items():
        spread[name] = np.full(count, np.nan if values.dtype.kind == "f" else 0, values.dtype)
        spread[name][rows] = values
    return spread


def _joined(counts: Sequence[int], parts: Sequence[dict[str, Reals]]) -> dict[str, AnyArray]:
    """Columns over all responses; NaN where a response's model does not have the head."""
    names = dict.fromkeys(name for part in parts for name in part)
    sized = list(zip(counts, parts, strict=True))
    return {
        name: np.concatenate(
            [part[name] if name in part else np.full(n, np.nan) for n, part in sized]
        )
        for name in names
    }


def _heads(count: int, response: Response) -> dict[str, Reals]:
    """Head columns [count] of one response; ValueError when its sizes do not fit."""
    log_probs = np.array(response.log_probs, np.float64)
    dwell_seconds = np.array(response.dwell_seconds, np.float64)
    if log_probs.size != count * len(response.actions) or dwell_seconds.size not in (0, count):
        raise ValueError(
            f"phoenix answered {log_probs.size} log-probabilities of {len(response.actions)} "
            f"actions and {dwell_seconds.size} dwell times for {count} candidates"
        )
    by_action = log_probs.reshape(count, len(response.actions)).T
    probabilities = np.exp(np.ascontiguousarray(by_action))  # what reads a column reads it whole
    heads = {
        PROBABILITY_COLUMNS[action]: probabilities[at]
        for at, action in enumerate(response.actions)
        if action in PROBABILITY_COLUMNS  # an action of a newer list has no weight here
    }
    if dwell_seconds.size:
        heads[DWELL_TIME_COLUMN] = dwell_seconds
    return heads
