"""Posts from outside the viewer's network weigh less; unknown is not outside."""

import pytest

from home_mixer.params import load_params
from home_mixer.scorers.oon_scorer import OONScorer

IN, OUT, UNKNOWN = 1, 0, -1
ORIGINAL: dict[str, int] = {}
REPLY = {"in_reply_to_post_id": 4}
REPOST = {"reposted_post_id": 5}


@pytest.mark.parametrize(
    ("kind", "in_network", "expected"),
    [
        (ORIGINAL, IN, 1.0),
        (ORIGINAL, OUT, 0.75),
        (ORIGINAL, UNKNOWN, 1.0),
        (REPLY, IN, 0.75),
        (REPOST, IN, 0.75),
        (REPLY, OUT, 0.75),
        (REPLY, UNKNOWN, 1.0),
    ],
)
def test_the_factor_by_kind_and_network(kind, in_network, expected, make_table, make_query):
    row = {**kind, "in_network": in_network, "offset": 0.4, "diversity": 0.5}
    got = OONScorer().score(make_query(), make_table(row))
    assert got["oon"].tolist() == [expected]
    assert got["score"].tolist() == [0.4 * 0.5 * expected]


def test_in_network_replies_keep_their_score_with_the_switch_off(make_table, make_query):
    off = load_params(overrides={"enable_oon_rescore_for_in_network_replies_reposts": False})
    got = OONScorer().score(make_query(params=off), make_table({**REPLY, "in_network": IN}))
    assert got["oon"].tolist() == [1.0]


def test_an_unscored_post_from_outside_is_below_its_twin_from_inside(make_table, make_query):
    rows = [{"offset": 0.5, "scored_by_fallback": True, "in_network": state} for state in (IN, OUT)]
    score = OONScorer().score(make_query(), make_table(*rows))["score"].tolist()
    assert score == [-1.5, -1.625]
