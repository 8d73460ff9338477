"""What would these posts score? The ranking formula on JSON lines, without any service.

A line: ``{"post_id": 1, "author_id": 7, "in_network": true, "is_reply": false, "is_repost": false,
"mutual_follow": true, "video_duration_ms": null, "heads": {"favorite": 0.1, "dwell_time": 12.0}}``.
All but ``post_id``, ``author_id`` and ``heads`` may be left out or null: not known. Heads are
probabilities in [0, 1], ``dwell_time`` and ``click_dwell_time`` seconds ≥ 0. The scorers are those
of the feed. A post without any head cannot be scored: its numbers are null and it comes last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from candidate_pipeline.table import CandidateTable
from home_mixer.columns import HEADS, NO, SCHEMA, UNKNOWN, YES
from home_mixer.params import RankingParams
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.author_diversity_scorer import AuthorDiversityScorer
from home_mixer.scorers.oon_scorer import OONScorer
from home_mixer.scorers.weighted_scorer import WeightedScorer, score_terms
from home_mixer.selectors.top_k_score_selector import TopKScoreSelector
from service_kit.action_list import CONTINUOUS_ACTIONS

LINES_MAX: Final = 1_000_000  # about 1 GB of columns
ID_MAX: Final = 2**64 - 1
DURATION_MS_MAX: Final = 2**53  # what a JSON number holds exactly
SECONDS_MAX: Final = 1e9  # 30 years on one post; larger is a unit's mistake

_SOME_POST: Final = 1  # the scorers ask whether a post is a reply or repost, not of what
_FLAGS: Final = ("in_network", "is_reply", "is_repost", "mutual_follow")
_KEYS: Final = ("post_id", "author_id", *_FLAGS, "video_duration_ms", "heads")


def score_lines(lines: Iterable[str], params: RankingParams) -> list[dict[str, Any]]:
    """The scored posts, best first; blank lines are passed over.

    Each is ``{"post_id", "terms": {head: weight × value}, "weighted", "offset", "diversity", "oon",
    "score"}`` with the terms of the heads that the line gave. ValueError names the line, what came
    and what was expected.
    """
    posts = _read(lines)
    table = _scored(_table(posts), params)
    terms = score_terms(table, params)
    best_first = TopKScoreSelector().select(_query(params), table)
    return [_result(table, terms, posts[row]["heads"], int(row)) for row in best_first]


def _scored(table: CandidateTable, params: RankingParams) -> CandidateTable:
    query = _query(params)
    table = table.with_columns(WeightedScorer().score(query, table))
    diversity = AuthorDiversityScorer()
    if diversity.enable(query):
        table = table.with_columns(diversity.score(query, table))
    return table.with_columns(OONScorer().score(query, table))


def _query(params: RankingParams) -> ScoredPostsQuery:
    return ScoredPostsQuery(viewer_id=0, request_id="offline", now_ms=0, params=params)


def _result(
    table: CandidateTable,
    terms: Mapping[str, np.ndarray[Any, Any]],
    heads: Mapping[str, float | None],
    row: int,
) -> dict[str, Any]:
    scored = not table["scored_by_fallback"][row]
    numbers = ("weighted", "offset", "diversity", "oon", "score")
    given = [head for head in HEADS if heads.get(head) is not None]
    return {
        "post_id": int(table["post_id"][row]),
        "terms": {head: float(terms[head][row]) for head in given},
        **{name: float(table[name][row]) if scored else None for name in numbers},
    }


def _table(posts: list[dict[str, Any]]) -> CandidateTable:
    flags = {name: [_tri_state(post.get(name)) for post in posts] for name in _FLAGS}
    columns: dict[str, Any] = {
        "post_id": np.array([post["post_id"] for post in posts], np.uint64),
        "author_id": np.array([post["author_id"] for post in posts], np.uint64),
        "in_network": np.array(flags["in_network"], np.int8),
        "in_reply_to_post_id": _marked(flags["is_reply"]),
        "reposted_post_id": _marked(flags["is_repost"]),
        "mutual_follow": np.array(flags["mutual_follow"]) == YES,
        "video_duration_ms": np.array(
            [post.get("video_duration_ms") or 0 for post in posts], np.int64
        ),
    }
    for head in HEADS:
        values = [post["heads"].get(head) for post in posts]
        if any(value is not None for value in values):
            columns[f"p_{head}"] = np.array(values, np.float64)  # None becomes NaN
    return CandidateTable.from_columns(SCHEMA, columns, n=len(posts))


def _tri_state(flag: bool | None) -> int:
    return UNKNOWN if flag is None else YES if flag else NO


def _marked(flags: list[int]) -> np.ndarray[Any, Any]:
    return np.where(np.array(flags) == YES, _SOME_POST, 0).astype(np.uint64)


def _read(lines: Iterable[str]) -> list[dict[str, Any]]:
    posts: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            post = _checked(line)
            if len(posts) == LINES_MAX:
                raise ValueError(f"more than {LINES_MAX} posts; score them in parts")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        posts.append(post)
    return posts


def _checked(line: str) -> dict[str, Any]:
    try:
        post = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error}); one JSON object a line is expected") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deeply; one flat JSON object is expected") from error
    if not isinstance(post, dict):
        raise ValueError(f"{_short(post)} came; a JSON object with {', '.join(_KEYS)} is expected")
    unknown = sorted(set(post) - set(_KEYS))
    if unknown:
        raise ValueError(f"unknown key {_short(unknown[0])}; the keys are {', '.join(_KEYS)}")
    _check_number(post, "post_id", ID_MAX, required=True)
    _check_number(post, "author_id", ID_MAX, required=True)
    _check_number(post, "video_duration_ms", DURATION_MS_MAX, required=False)
    for name in _FLAGS:
        if post.get(name) is not None and not isinstance(post[name], bool):
            raise ValueError(f"{name} is {_short(post[name])}; true, false or null is expected")
    _check_heads(post.get("heads"))
    return post


def _check_number(post: Mapping[str, Any], name: str, maximum: int, *, required: bool) -> None:
    value = post.get(name)
    if value is None and not required:
        return
    if name not in post:
        raise ValueError(f"{name} is missing; a whole number is expected")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
        expected = f"a whole number from 0 to {maximum}"
        raise ValueError(f"{name} is {_short(value)}; {expected} is expected")


def _check_heads(heads: object) -> None:
    if not isinstance(heads, dict):
        raise ValueError(f"heads is {_short(heads)}; an object of head: value is expected")
    for head, value in heads.items():
        if head not in HEADS:
            raise ValueError(f"unknown head {_short(head)}; the heads are {', '.join(HEADS)}")
        if value is not None:
            _check_head(head, value)


def _check_head(head: str, value: object) -> None:
    seconds = head in CONTINUOUS_ACTIONS
    maximum = SECONDS_MAX if seconds else 1.0
    kind = f"seconds from 0 to {SECONDS_MAX:g}" if seconds else "a probability from 0 to 1"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise ValueError(f"heads.{head} is {_short(value)}; {kind} is expected")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
