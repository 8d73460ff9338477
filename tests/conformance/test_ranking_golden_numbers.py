"""The formulas give the numbers worked out by hand from the tables of October 2026."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from candidate_pipeline.table import CandidateTable
from home_mixer.columns import SCHEMA
from home_mixer.filters.dedup_conversation_filter import DedupConversationFilter
from home_mixer.offline_score import score_lines
from home_mixer.params import load_params
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.author_diversity_scorer import AuthorDiversityScorer
from service_kit.snowflake import FIRST_SNOWFLAKE_ID, timestamp_ms

OCTOBER = load_params("x-2026-10")
QUERY = ScoredPostsQuery(viewer_id=1, request_id="r", now_ms=0, params=OCTOBER)
A, B, C = 100, 200, 300

C1 = {
    "post_id": 1,
    "author_id": A,
    "in_network": True,
    "is_reply": False,
    "is_repost": False,
    "mutual_follow": True,
    "video_duration_ms": None,
    "heads": {
        "favorite": 0.10,
        "reply": 0.02,
        "click": 0.2,
        "dwell_time": 12.0,
        "post_unexplored": 0.3,
    },
}
C2 = {
    "post_id": 2,
    "author_id": A,
    "in_network": True,
    "heads": {"favorite": 0.05, "repost": 0.01, "dwell_time": 6.0},
}
C3 = {
    "post_id": 3,
    "author_id": B,
    "in_network": False,
    "heads": {"favorite": 0.20, "share": 0.01, "dwell_time": 8.0},
}
C4 = {
    "post_id": 4,
    "author_id": C,
    "in_network": True,
    "heads": {"favorite": 0.01, "report": 0.001, "not_dwelled": 0.5},
}


def score(*posts):
    return score_lines((json.dumps(post) for post in posts), OCTOBER)


@pytest.mark.parametrize(
    ("post", "weighted", "offset"),
    [
        (C1, 0.5625, 0.5635),
        ({**C1, "mutual_follow": False}, 0.2625, 0.2635),
        (C2, 0.059, 0.060),
        (C3, 0.152, 0.153),
        (C4, -0.239, 0.000895187),
    ],
)
def test_weighted_and_offset_scores(post, weighted, offset):
    (scored,) = score(post)
    assert scored["weighted"] == pytest.approx(weighted, abs=1e-12)
    assert scored["offset"] == pytest.approx(offset, abs=5e-10)


def test_the_four_posts_together_with_their_final_scores_in_their_order():
    rows = score(C4, C2, C1, C3)
    assert [row["post_id"] for row in rows] == [1, 3, 2, 4]
    assert [row["diversity"] for row in rows] == [1.0, 1.0, 0.625, 1.0]
    assert [row["oon"] for row in rows] == [1.0, 0.75, 1.0, 1.0]
    expected = [0.5635, 0.11475, 0.0375, 0.000895187]
    assert [row["score"] for row in rows] == pytest.approx(expected, abs=5e-10)


def test_the_sums_behind_the_offset():
    assert pytest.approx(371.54) == OCTOBER.negative_weights_sum
    assert pytest.approx(414.775) == OCTOBER.weights_sum
    assert OCTOBER.weights_sum - OCTOBER.negative_weights_sum == pytest.approx(43.235)
    august = load_params("x-2026-08")
    assert (august.weights_sum, august.negative_weights_sum) == pytest.approx((410.54, 367.22))


def test_a_net_negative_post_stays_below_a_net_zero_one():
    zero = {"post_id": 1, "author_id": A, "heads": {"profile_click": 1.0}}
    barely = {"post_id": 2, "author_id": B, "heads": {"not_dwelled": 1e-9}}
    net_zero, net_negative = score(zero, barely)
    assert net_zero["score"] == 0.001
    assert 0.0 < net_negative["score"] < 0.00090


def test_author_diversity_multipliers():
    table = CandidateTable.from_columns(
        SCHEMA,
        {
            "post_id": np.arange(1, 6, dtype=np.uint64),
            "author_id": np.full(5, A, np.uint64),
            "offset": np.array([0.9, 0.7, 0.5, 0.3, 0.1]),
        },
    )
    multipliers = AuthorDiversityScorer().score(QUERY, table)["diversity"]
    assert multipliers.tolist() == [1.0, 0.625, 0.4375, 0.34375, 0.296875]


def test_conversation_deduplication():
    table = CandidateTable.from_columns(
        SCHEMA,
        {
            "post_id": np.array([10, 11, 12, 20], np.uint64),
            "in_reply_to_post_id": np.array([1, 2, 1, 2], np.uint64),
            "conversation_id": np.array([0, 1, 1, 0], np.uint64),
            "score": np.array([0.5, 0.9, 0.7, 0.3]),
        },
    )
    kept = table["post_id"][DedupConversationFilter().keep(QUERY, table)]
    assert kept.tolist() == [11, 20]


def test_snowflake_times():
    assert timestamp_ms(2054275414225846272) == 1_778_612_400_000
    assert datetime.fromtimestamp(1_778_612_400, UTC) == datetime(2026, 5, 12, 19, tzinfo=UTC)
    assert FIRST_SNOWFLAKE_ID == 362_387_865_600_000
    first = datetime.fromtimestamp(timestamp_ms(FIRST_SNOWFLAKE_ID) / 1_000, UTC)
    assert first.isoformat(timespec="milliseconds") == "2010-11-05T01:42:54.657+00:00"
    with pytest.raises(ValueError, match="carries no time"):
        timestamp_ms(FIRST_SNOWFLAKE_ID - 1)
