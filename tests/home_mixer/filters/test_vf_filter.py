"""Unsafe and deleted posts are not shown, and neither are posts that nobody could check."""

from home_mixer.columns import (
    VISIBILITY_ALLOW,
    VISIBILITY_DROP,
    VISIBILITY_INTERSTITIAL,
    VISIBILITY_UNKNOWN,
)
from home_mixer.filters.vf_filter import VFFilter
from home_mixer.params import load_params

ACTIONS = (VISIBILITY_ALLOW, VISIBILITY_INTERSTITIAL, VISIBILITY_DROP, VISIBILITY_UNKNOWN)


def test_drop_and_unknown_are_removed_and_an_interstitial_passes(make_table, make_query):
    table = make_table(*({"visibility_action": action} for action in ACTIONS))
    assert VFFilter().keep(make_query(), table).tolist() == [True, True, False, False]


def test_the_operator_may_choose_to_show_what_could_not_be_checked(make_table, make_query):
    table = make_table(*({"visibility_action": action} for action in ACTIONS))
    opened = load_params(overrides={"enable_fail_closed_visibility": False})
    keep = VFFilter().keep(make_query(params=opened), table)
    assert keep.tolist() == [True, True, False, True]


def test_a_post_that_no_hydrator_judged_is_removed(make_table, make_query):
    assert VFFilter().keep(make_query(), make_table({"post_id": 1})).tolist() == [False]
