"""What a post's safety labels mean for a viewer: allow, show behind a notice, or drop.

Two levels, as in the original: posts of accounts that the viewer follows, and recommendations,
which are held to more. A post whose in-network state is unknown counts as a recommendation.
The strictest label decides; its name, in lower case, is the reason that travels with the post.
The label service itself is closed; the classes follow its published rule lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from home_mixer.columns import (
    VISIBILITY_ALLOW,
    VISIBILITY_DROP,
    VISIBILITY_INTERSTITIAL,
    VISIBILITY_UNKNOWN,
    YES,
)
from protos import events_pb2

REASON_DELETED: Final = "deleted"
REASON_UNKNOWN: Final = "unknown"

_Labels = events_pb2.VisibilityLabel
_IN_NETWORK: Final[dict[int, int]] = {
    events_pb2.VISIBILITY_LABEL_SPAM: VISIBILITY_DROP,
    events_pb2.VISIBILITY_LABEL_VIOLENCE: VISIBILITY_DROP,
    events_pb2.VISIBILITY_LABEL_HATEFUL_CONDUCT: VISIBILITY_DROP,
    events_pb2.VISIBILITY_LABEL_ABUSE: VISIBILITY_DROP,
    events_pb2.VISIBILITY_LABEL_LEGAL_TAKEDOWN: VISIBILITY_DROP,
    events_pb2.VISIBILITY_LABEL_GORE: VISIBILITY_INTERSTITIAL,
    events_pb2.VISIBILITY_LABEL_ADULT: VISIBILITY_INTERSTITIAL,
    # Deviation: the original allows these in network; a notice warns of the link instead.
    events_pb2.VISIBILITY_LABEL_MALICIOUS_URL: VISIBILITY_INTERSTITIAL,
    events_pb2.VISIBILITY_LABEL_DO_NOT_AMPLIFY: VISIBILITY_ALLOW,
}


def verdict(labels: Iterable[int], *, deleted: bool, in_network: int) -> tuple[int, str]:
    """(visibility_action, visibility_reason) of a post with these ``VisibilityLabel`` numbers.

    ``in_network`` is the tri-state column's value. A number that this version does not know drops
    the post: somebody labelled it for a reason.
    """
    if deleted:
        return VISIBILITY_DROP, REASON_DELETED
    worst, reason = VISIBILITY_ALLOW, ""
    for label in sorted(labels):
        action = _IN_NETWORK.get(label, VISIBILITY_DROP) if in_network == YES else VISIBILITY_DROP
        if action > worst:
            worst, reason = action, label_name(label)
    return worst, reason


def label_name(label: int) -> str:
    """``VISIBILITY_LABEL_SPAM`` → ``spam``."""
    known = _Labels.DESCRIPTOR.values_by_number.get(label)
    if known is None:
        return f"label_{label}"
    return str(known.name).removeprefix("VISIBILITY_LABEL_").lower()


def stricter(first: tuple[int, str], second: tuple[int, str]) -> tuple[int, str]:
    """The verdict for a post that shows another one (a repost, a quote).

    Drop beats unknown beats interstitial beats allow; of equals the first.
    """
    return second if _SEVERITY[second[0]] > _SEVERITY[first[0]] else first


_SEVERITY: Final = {
    VISIBILITY_ALLOW: 0,
    VISIBILITY_INTERSTITIAL: 1,
    VISIBILITY_UNKNOWN: 2,
    VISIBILITY_DROP: 3,
}
