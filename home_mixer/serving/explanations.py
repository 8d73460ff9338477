"""The ledger of a request as a message: every candidate's fate and every term of its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from candidate_pipeline.result import Fate, Ledger, PipelineResult, StageReport
from home_mixer.columns import HEAD_COLUMNS, HEADS, YES
from home_mixer.params import RankingParams
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.weighted_scorer import effective_weights
from protos import home_mixer_pb2 as pb

_FATES = {fate: str(fate) for fate in Fate} | {Fate.FILTERED: "removed"}
_NUMBERS = ("weighted", "offset", "diversity", "oon", "score")


def explain_message(
    result: PipelineResult[ScoredPostsQuery],
    response: pb.ScoredPostsResponse,
    source_names: Sequence[str],
) -> pb.ExplainResponse:
    """Takes tens of milliseconds for thousands of candidates: call it off the event loop."""
    if result.ledger is None:
        raise ValueError("the request ran without its ledger: pass explain=True to execute")
    return pb.ExplainResponse(
        response=response,
        candidates=_fates(result.ledger, result.query.params, source_names),
        stages=_stages(result.stages),
        fate_counts={_FATES[fate]: count for fate, count in result.counts.items()},
    )


def _fates(
    ledger: Ledger, params: RankingParams, source_names: Sequence[str]
) -> list[pb.CandidateFate]:
    table = ledger.table
    terms = _terms(ledger, params)
    numbers = {name: np.nan_to_num(table[name]).tolist() for name in _NUMBERS}
    columns = {
        name: table[name].tolist()
        for name in ("post_id", "author_id", "text", "author_screen_name", "scored_by_fallback")
    }
    sources = table["sources"].tolist()
    inside = (table["in_network"] == YES).tolist()
    return [
        pb.CandidateFate(
            post_id=columns["post_id"][row],
            author_id=columns["author_id"][row],
            sources=[name for bit, name in enumerate(source_names) if sources[row] >> bit & 1],
            fate=_FATES[ledger.fate[row]],
            removed_by=ledger.removed_by[row],
            position=int(ledger.position[row]),
            terms=terms[row],
            scored_by_fallback=columns["scored_by_fallback"][row],
            in_network=inside[row],
            text=columns["text"][row],
            author_screen_name=columns["author_screen_name"][row],
            **{name: values[row] for name, values in numbers.items()},
        )
        for row in _served_first(ledger)
    ]


def _served_first(ledger: Ledger) -> list[int]:
    """Row numbers: the feed in its order, then the ranking's rest, then what filters removed."""
    last = np.iinfo(np.int64).max
    position = np.where(ledger.position < 0, last, ledger.position)
    rank = np.where(ledger.rank < 0, last, ledger.rank)
    rows: list[int] = np.lexsort((rank, position)).tolist()
    return rows


def _terms(ledger: Ledger, params: RankingParams) -> list[list[pb.ScoreTerm]]:
    """Per row, one term a head that has a value; their contributions sum to ``weighted``."""
    terms: list[list[pb.ScoreTerm]] = [[] for _ in range(len(ledger.table))]
    weights = effective_weights(ledger.table, params)
    for head, column in zip(HEADS, HEAD_COLUMNS, strict=True):
        values = ledger.table[column]
        for row in np.flatnonzero(np.isfinite(values)).tolist():
            value, weight = float(values[row]), float(weights[head][row])
            terms[row].append(
                pb.ScoreTerm(head=head, value=value, weight=weight, contribution=weight * value)
            )
    return terms


def _stages(stages: Sequence[StageReport]) -> list[pb.StageReport]:
    return [
        pb.StageReport(
            stage=str(report.stage),
            component=report.component,
            latency_ms=report.latency_ms,
            input_count=report.input_count,
            output_count=report.output_count,
            error=report.error or "",
            enabled=report.enabled,
        )
        for stage in stages
        for report in stage.components
    ]
