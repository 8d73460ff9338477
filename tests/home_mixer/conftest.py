"""Tables and queries for the tests of the feed's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest

from candidate_pipeline.table import CandidateTable
from home_mixer.columns import HEADS, SCHEMA
from home_mixer.params import RankingParams, load_params
from home_mixer.query import ScoredPostsQuery, sorted_ids
from service_kit.snowflake import first_id_at

Row = dict[str, Any]
MakeTable = Callable[..., CandidateTable]
MakeQuery = Callable[..., ScoredPostsQuery]

NOW_MS = 1_790_000_000_000
_ID_FIELDS = frozenset(
    name for name in ScoredPostsQuery.__dataclass_fields__ if name.endswith("_ids")
)


def _column(name: str, rows: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, Any]:
    column = SCHEMA[name]
    values = np.empty(len(rows), column.np_dtype)
    for i, row in enumerate(rows):
        values[i] = row.get(name, column.default)
    return values


@pytest.fixture(scope="session")
def make_table() -> MakeTable:
    """rows as dicts → table; what a row does not name has its column's default."""

    def make(*rows: Mapping[str, Any]) -> CandidateTable:
        names = {name for row in rows for name in row}
        columns = {name: _column(name, rows) for name in names}
        return CandidateTable.from_columns(SCHEMA, columns, n=len(rows))

    return make


@pytest.fixture(scope="session")
def params() -> RankingParams:
    return load_params("x-2026-10")


@pytest.fixture(scope="session")
def make_query(params: RankingParams) -> MakeQuery:
    """A query of viewer 1 at NOW_MS; lists given for id fields are sorted."""

    def make(**fields: Any) -> ScoredPostsQuery:
        given = {k: sorted_ids(v) if k in _ID_FIELDS else v for k, v in fields.items()}
        defaults = {"viewer_id": 1, "request_id": "r", "now_ms": NOW_MS, "params": params}
        return ScoredPostsQuery(**{**defaults, **given})

    return make


@pytest.fixture(scope="session")
def post_id() -> Callable[..., int]:
    """An id of a post that is ``age_s`` old at NOW_MS."""

    def make(age_s: float = 0.0, sequence: int = 0) -> int:
        return first_id_at(NOW_MS - round(age_s * 1_000)) + sequence

    return make


@pytest.fixture(scope="session")
def candidate_rows() -> st.SearchStrategy[list[Row]]:
    """Lists of candidates with few distinct ids and words, so that everything collides."""
    small = st.integers(0, 6)
    posts = st.integers(1, 6).map(lambda n: first_id_at(NOW_MS - n * 3_600_000) + n)
    text = st.sampled_from(["", "a cat", "dogs & cats", "breaking news today", "news"])
    maybe_post = st.one_of(st.just(0), posts)
    probability = st.one_of(st.just(float("nan")), st.floats(0, 1))
    heads = {f"p_{head}": probability for head in HEADS}
    facts: dict[str, st.SearchStrategy[Any]] = {
        "post_id": posts,
        "sources": st.sampled_from([1, 2]),
        "author_id": small,
        "reposted_post_id": maybe_post,
        "reposted_user_id": small,
        "in_reply_to_post_id": maybe_post,
        "quoted_author_id": small,
        "subscription_author_id": small,
        "reposted_subscription_author_id": small,
        "in_network": st.sampled_from([-1, 0, 1]),
        "mutual_follow": st.booleans(),
        "author_blocks_viewer": st.booleans(),
        "video_duration_ms": st.sampled_from([0, 9_999, 10_000, 10_001]),
        "core_data_found": st.sampled_from([-1, 0, 1]),
        "text": text,
        "reposted_text": text,
        "quoted_text": text,
        "conversation_id": maybe_post,
        "visibility_action": st.sampled_from([-1, 0, 1, 2]),
        "score": st.one_of(st.just(float("nan")), st.sampled_from([0.0, 0.1, 0.5])),
    }
    return st.lists(st.fixed_dictionaries({**facts, **heads}), max_size=12)
