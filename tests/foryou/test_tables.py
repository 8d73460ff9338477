"""What the feed's table says where there is nothing to show."""

from __future__ import annotations

from foryou.tables import why_empty
from protos import home_mixer_pb2


def test_an_empty_feed_says_that_nothing_was_found() -> None:
    assert "no source found a post" in why_empty(home_mixer_pb2.ExplainResponse())


def test_an_empty_feed_names_the_filters_that_left_nothing() -> None:
    removed = ["Age", "PreviouslyServedPosts", "Age"]
    answer = home_mixer_pb2.ExplainResponse(
        candidates=[
            home_mixer_pb2.CandidateFate(fate="removed", removed_by=name) for name in removed
        ]
    )
    assert why_empty(answer) == (
        "none of 3 candidates may be shown: Age 2, PreviouslyServedPosts 1"
    )
