"""``foryou score``: what would these posts score, and what is wrong with this line?"""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from home_mixer.columns import HEADS
from home_mixer.offline_score import score_lines
from home_mixer.params import load_params

GOOD = {"post_id": 1, "author_id": 7, "heads": {"favorite": 0.1}}


def lines(*posts):
    return [json.dumps(post) for post in posts]


def test_the_output_has_the_promised_keys_and_only_the_given_heads(params):
    post = {
        "post_id": 1,
        "author_id": 7,
        "in_network": True,
        "is_reply": False,
        "is_repost": False,
        "mutual_follow": True,
        "video_duration_ms": None,
        "heads": {"reply": 0.02, "favorite": 0.1, "dwell_time": 12.0, "report": None},
    }
    (scored,) = score_lines(lines(post), params)
    assert list(scored) == ["post_id", "terms", "weighted", "offset", "diversity", "oon", "score"]
    assert scored["terms"] == {"favorite": 0.05, "reply": 0.4, "dwell_time": 0.048}
    assert scored["weighted"] == pytest.approx(0.498)
    assert json.loads(json.dumps(scored)) == scored


def test_unknown_flags_are_neither_true_nor_false(params):
    nulls = {"in_network": None, "is_reply": None, "is_repost": None, "mutual_follow": None}
    heads = {"reply": 0.1, "post_unexplored": 1.0}
    rows = score_lines(
        lines({**GOOD, **nulls, "heads": heads}, {"post_id": 2, "author_id": 8, "heads": heads}),
        params,
    )
    assert [row["weighted"] for row in rows] == [0.5, 0.5]
    assert [row["oon"] for row in rows] == [1.0, 1.0]


def test_replies_and_reposts_lose_the_boost_and_get_the_factor(params):
    rows = score_lines(
        lines(
            *(
                {**GOOD, "author_id": i, "in_network": True, "mutual_follow": True, **kind}
                | {"post_id": i, "heads": {"reply": 0.1}}
                for i, kind in enumerate(({}, {"is_reply": True}, {"is_repost": True}), start=1)
            )
        ),
        params,
    )
    by_id = {row["post_id"]: (row["weighted"], row["oon"]) for row in rows}
    assert by_id == {1: (2.0, 1.0), 2: (0.5, 0.75), 3: (0.5, 0.75)}


def test_a_post_without_heads_comes_last_without_a_score(params):
    rows = score_lines(
        lines({**GOOD, "post_id": 9, "heads": {}}, {**GOOD, "heads": {"report": 1.0}}), params
    )
    assert [row["post_id"] for row in rows] == [1, 9]
    assert rows[1]["score"] is None
    assert rows[1]["terms"] == {}


def test_blank_lines_and_no_lines_at_all_are_fine(params):
    assert score_lines([], params) == []
    assert score_lines(["", " \n"], params) == []
    assert len(score_lines(["\n", *lines(GOOD), ""], params)) == 1


def test_the_table_decides(params):
    post = {**GOOD, "heads": {"not_interested": 0.01}}
    (october,) = score_lines(lines(post), params)
    (august,) = score_lines(lines(post), load_params("x-2026-08"))
    assert october["weighted"] == pytest.approx(-0.4752)
    assert august["weighted"] == pytest.approx(-0.432)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: not JSON .*; one JSON object a line is expected"),
        ("[1]", r"line 2: \[1\] came; a JSON object with post_id, author_id"),
        ('{"author_id": 7, "heads": {}}', "line 2: post_id is missing; a whole number is expected"),
        ('{"post_id": 1, "heads": {}}', "line 2: author_id is missing"),
        ('{"post_id": "1", "author_id": 7, "heads": {}}', "line 2: post_id is '1'; a whole number"),
        ('{"post_id": -1, "author_id": 7, "heads": {}}', "line 2: post_id is -1; a whole number"),
        ('{"post_id": true, "author_id": 7, "heads": {}}', "line 2: post_id is True"),
        ('{"post_id": 1.5, "author_id": 7, "heads": {}}', r"line 2: post_id is 1\.5"),
        (
            '{"post_id": 18446744073709551616, "author_id": 7, "heads": {}}',
            "line 2: post_id is 1844",
        ),
        ('{"post_id": 1, "author_id": 7}', "line 2: heads is None; an object of head: value"),
        ('{"post_id": 1, "author_id": 7, "heads": [1]}', r"line 2: heads is \[1\]"),
        (
            '{"post_id": 1, "author_id": 7, "heads": {"like": 1}}',
            "unknown head 'like'; the heads are",
        ),
        ('{"post_id": 1, "author_id": 7, "heads": {"reply": 1.01}}', "a probability from 0 to 1"),
        ('{"post_id": 1, "author_id": 7, "heads": {"reply": -0.1}}', r"heads\.reply is -0\.1"),
        ('{"post_id": 1, "author_id": 7, "heads": {"reply": NaN}}', r"heads\.reply is nan"),
        ('{"post_id": 1, "author_id": 7, "heads": {"reply": "0.1"}}', r"heads\.reply is '0\.1'"),
        ('{"post_id": 1, "author_id": 7, "heads": {"reply": true}}', r"heads\.reply is True"),
        ('{"post_id": 1, "author_id": 7, "heads": {"dwell_time": -1}}', "seconds from 0 to 1e"),
        ('{"post_id": 1, "author_id": 7, "heads": {"dwell_time": Infinity}}', "dwell_time is inf"),
        (
            '{"post_id": 1, "author_id": 7, "heads": {}, "is_reply": 1}',
            "line 2: is_reply is 1; true, false or null is expected",
        ),
        (
            '{"post_id": 1, "author_id": 7, "heads": {}, "video_duration_ms": "10s"}',
            "line 2: video_duration_ms is '10s'",
        ),
        ('{"post_id": 1, "author_id": 7, "heads": {}, "is_repli": 1}', "unknown key 'is_repli'"),
        ("[" * 200_000, "line 2: JSON nested too deeply"),
        ('{"post_id": ' + "9" * 5_000 + "}", "line 2: .*"),
    ],
)
def test_a_bad_line_is_named_with_what_came_and_what_was_expected(line, message, params):
    with pytest.raises(ValueError, match=message):
        score_lines([*lines(GOOD), line], params)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(HEADS), st.floats(0, 1), min_size=1), min_size=1, max_size=9
    )
)
def test_scores_descend_and_are_the_product_of_their_parts(heads):
    posts = [{"post_id": i, "author_id": i % 3, "heads": given} for i, given in enumerate(heads)]
    rows = score_lines(lines(*posts), load_params())
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    for row in rows:
        assert row["score"] == row["offset"] * row["diversity"] * row["oon"]
        assert row["weighted"] == pytest.approx(sum(row["terms"].values()), rel=1e-12, abs=1e-12)
