"""What a label means: gone for everyone, or a notice for followers and gone for strangers."""

import pytest

from home_mixer.columns import (
    VISIBILITY_ALLOW,
    VISIBILITY_DROP,
    VISIBILITY_INTERSTITIAL,
    VISIBILITY_UNKNOWN,
)
from home_mixer.visibility_rules import stricter, verdict
from protos import events_pb2

LABELS = {
    name.removeprefix("VISIBILITY_LABEL_").lower(): number
    for name, number in events_pb2.VisibilityLabel.items()
    if number
}


@pytest.mark.parametrize(
    ("label", "followed"),
    [
        ("spam", VISIBILITY_DROP),
        ("violence", VISIBILITY_DROP),
        ("hateful_conduct", VISIBILITY_DROP),
        ("abuse", VISIBILITY_DROP),
        ("legal_takedown", VISIBILITY_DROP),
        ("gore", VISIBILITY_INTERSTITIAL),
        ("adult", VISIBILITY_INTERSTITIAL),
        ("malicious_url", VISIBILITY_INTERSTITIAL),
        ("do_not_amplify", VISIBILITY_ALLOW),
    ],
)
def test_recommendations_are_held_to_more_than_followed_accounts(label, followed):
    number = LABELS[label]
    reason = "" if followed == VISIBILITY_ALLOW else label
    assert verdict([number], deleted=False, in_network=1) == (followed, reason)
    for state in (0, -1):
        assert verdict([number], deleted=False, in_network=state) == (VISIBILITY_DROP, label)


def test_every_label_of_the_wire_has_a_rule_of_its_own():
    drops = {
        label: verdict([number], deleted=False, in_network=1)[0] for label, number in LABELS.items()
    }
    assert len(drops) == 9
    assert verdict([99], deleted=False, in_network=1) == (VISIBILITY_DROP, "label_99")


def test_the_strictest_label_decides_and_deletion_beats_all():
    labels = [LABELS["adult"], LABELS["abuse"], LABELS["do_not_amplify"]]
    assert verdict(labels, deleted=False, in_network=1) == (VISIBILITY_DROP, "abuse")
    assert verdict(labels, deleted=True, in_network=1) == (VISIBILITY_DROP, "deleted")
    assert verdict([], deleted=False, in_network=0) == (VISIBILITY_ALLOW, "")


def test_a_repost_is_as_safe_as_what_it_shows():
    allow, notice = (VISIBILITY_ALLOW, ""), (VISIBILITY_INTERSTITIAL, "gore")
    drop, unknown = (VISIBILITY_DROP, "spam"), (VISIBILITY_UNKNOWN, "unknown")
    assert stricter(allow, notice) == notice
    assert stricter(notice, unknown) == unknown
    assert stricter(unknown, drop) == stricter(drop, unknown) == drop
    assert stricter(notice, (VISIBILITY_INTERSTITIAL, "adult")) == notice
