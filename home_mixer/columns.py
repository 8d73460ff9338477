"""The columns of one request's candidates: name, type, what "not known" looks like, and meaning.

Ids are uint64 and 0 means none. Tri-state columns are int8: −1 unknown, 0 no, 1 yes. A head's
column ``p_<head>`` holds a probability (seconds for ``dwell_time`` and ``click_dwell_time``), NaN
where no model gave one. There are no columns for the terms of a score: they follow from the heads
(:func:`home_mixer.scorers.weighted_scorer.score_terms`), and only explanations ask for them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from candidate_pipeline.schema import Column, Schema
from service_kit.action_list import ACTION_NAMES

UNKNOWN: Final = -1
NO: Final = 0
YES: Final = 1

# Numbers of foryou.home_mixer.v1.ServedType.
SERVED_UNSPECIFIED: Final = 0
SERVED_IN_NETWORK: Final = 1
SERVED_PHOENIX_RETRIEVAL: Final = 2

VISIBILITY_UNKNOWN: Final = -1
VISIBILITY_ALLOW: Final = 0
VISIBILITY_INTERSTITIAL: Final = 1
VISIBILITY_DROP: Final = 2

HEADS: Final[tuple[str, ...]] = ACTION_NAMES  # the 25 heads, in the enum's order
HEAD_COLUMNS: Final[tuple[str, ...]] = tuple(f"p_{head}" for head in HEADS)

_ID = np.dtype(np.uint64)
_TIME = np.dtype(np.int64)
_TRI = np.dtype(np.int8)
_BOOL = np.dtype(np.bool_)
_REAL = np.dtype(np.float64)
_OBJECT = np.dtype(object)
_NAN = float("nan")

# What sources and hydrators know; DropDuplicatesFilter merges these.
IDENTITY_COLUMNS: Final[tuple[Column, ...]] = (
    Column("author_id", _ID, 0, "who posted it; of a repost the reposter"),
    Column("created_at_ms", _TIME, UNKNOWN, "unix ms, −1 unknown"),
    Column("in_reply_to_post_id", _ID, 0, "parent; 0: not a reply"),
    Column("in_reply_to_user_id", _ID, 0, "the parent's author"),
    Column("conversation_id", _ID, 0, "root post of the thread"),
    Column("reposted_post_id", _ID, 0, "the original; 0: not a repost"),
    Column("reposted_user_id", _ID, 0, "the original's author"),
    Column("quoted_post_id", _ID, 0, "0: quotes nothing"),
    Column("quoted_author_id", _ID, 0, "the quoted post's author"),
    Column("text", _OBJECT, "", "own text"),
    Column("reposted_text", _OBJECT, "", "text of the original of a repost"),
    Column("quoted_text", _OBJECT, "", "text of the quoted post"),
    Column("in_network", _TRI, UNKNOWN, "the author is followed or is the viewer"),
    Column("video_duration_ms", _TIME, 0, "of the first video; 0: none or unknown"),
    Column("has_media", _BOOL, False, "has at least one photo or video"),
    Column("subscription_author_id", _ID, 0, "only this author's subscribers may see it; 0: all"),
    Column("reposted_subscription_author_id", _ID, 0, "the same, of the original of a repost"),
    Column("author_screen_name", _OBJECT, "", "without @"),
    Column("reposted_screen_name", _OBJECT, "", "of the original's author"),
    Column("author_verified", _BOOL, False, ""),
    Column("author_followers_count", _TIME, UNKNOWN, "−1 unknown"),
    Column("author_blocks_viewer", _BOOL, False, "author, reposted or quoted author blocks viewer"),
    Column("mutual_follow", _BOOL, False, "viewer and author follow each other"),
    Column("core_data_found", _TRI, UNKNOWN, "the post store knows it"),
    Column("served_type", _TRI, SERVED_UNSPECIFIED, "number of ServedType"),
)

RESULT_COLUMNS: Final[tuple[Column, ...]] = (
    Column("weighted", _REAL, _NAN, "Σ weight · head; NaN: unscored"),
    Column("offset", _REAL, _NAN, "weighted, made ≥ 0; of an unscored post its fallback in [0, 1]"),
    Column("diversity", _REAL, 1.0, "author diversity's multiplier"),
    Column("oon", _REAL, 1.0, "out-of-network multiplier"),
    Column("score", _REAL, _NAN, "what the feed is ordered by; NaN is last"),
    Column("scored_by_fallback", _BOOL, False, "no model scored it"),
    Column("last_scored_at_ms", _TIME, 0, "unix ms; 0: never"),
    Column("prediction_request_id", _ID, 0, "phoenix's id of the prediction"),
    Column("visibility_action", _TRI, VISIBILITY_UNKNOWN, "allow 0, interstitial 1, drop 2"),
    Column("visibility_reason", _OBJECT, "", "the label that decided; empty: none"),
    Column("visibility_age_ms", _TIME, UNKNOWN, "0: read now; more: last known; −1: not known"),
)

SCHEMA: Final = Schema(
    (
        Column("post_id", _ID, 0, "snowflake"),
        Column("sources", np.dtype(np.int64), 0, "bit i: source i brought it"),
        *IDENTITY_COLUMNS,
        *(Column(name, _REAL, _NAN, "predicted by phoenix") for name in HEAD_COLUMNS),
        *RESULT_COLUMNS,
    )
)
