"""Every event becomes its rows, and a bad one is refused alone, with a reason that helps."""

from __future__ import annotations

from typing import Any

import pytest

from home_mixer.clients.writes import Action, EdgeChange, FeatureBatch, PostContent, Profile
from home_mixer.ingest.decode import KEYWORD_BYTES_MAX, TEXT_BYTES_MAX, decode_event
from protos import actions_pb2, events_pb2
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_GRAPH, TOPIC_POSTS


def decoded(topic: str, event: Any) -> FeatureBatch:
    batch = FeatureBatch()
    decode_event(topic, event.SerializeToString(), batch)
    return batch


def post(**fields: Any) -> events_pb2.PostEvent:
    return events_pb2.PostEvent(
        create=events_pb2.PostCreate(**{"post_id": 1, "author_id": 2, "created_at_ms": 3, **fields})
    )


def test_a_post_keeps_all_that_the_feed_needs() -> None:
    media = [
        events_pb2.Media(kind=events_pb2.Media.KIND_PHOTO),
        events_pb2.Media(kind=events_pb2.Media.KIND_VIDEO, duration_ms=12_000),
        events_pb2.Media(kind=events_pb2.Media.KIND_VIDEO, duration_ms=99_000),
    ]
    batch = decoded(
        TOPIC_POSTS,
        post(
            text="hello",
            in_reply_to_post_id=4,
            in_reply_to_user_id=5,
            conversation_id=6,
            reposted_post_id=7,
            reposted_user_id=8,
            quoted_post_id=9,
            quoted_user_id=10,
            subscription_author_id=11,
            media=media,
        ),
    )
    expected = PostContent(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12_000, True, "hello")
    assert batch.contents == [(1, expected)]


def test_a_post_without_text_or_media_is_a_post() -> None:
    assert decoded(TOPIC_POSTS, post()).contents == [(1, PostContent(2, 3))]


def test_deletes_undeletes_cards_and_labels() -> None:
    pb = events_pb2
    delete = pb.PostEvent(delete=pb.PostDelete(post_id=1, author_id=2, deleted_at_ms=5))
    assert decoded(TOPIC_POSTS, delete).statuses == [(1, True, 5)]
    undelete = pb.PostEvent(undelete=pb.PostUndelete(post_id=1, author_id=2, undeleted_at_ms=6))
    assert decoded(TOPIC_POSTS, undelete).statuses == [(1, False, 6)]
    card = pb.PostEvent(quoted_post_delete=pb.QuotedPostDelete(quoting_post_id=3))
    assert decoded(TOPIC_POSTS, card).quotes_gone == [3]
    labels = pb.PostEvent(labels=pb.PostLabels(post_id=1, labels=[1, 3, 3], labelled_at_ms=7))
    assert decoded(TOPIC_POSTS, labels).labels == [(1, 0b1010, 7)]


def test_an_action_and_a_dwell() -> None:
    event = events_pb2.ActionEvent(
        user_id=1,
        post_id=2,
        author_id=3,
        action=actions_pb2.ACTION_DWELL,
        acted_at_ms=4,
        product_surface=actions_pb2.PRODUCT_SURFACE_SEARCH,
        seconds=2.5,
    )
    assert decoded(TOPIC_ACTIONS, event).actions == [(1, Action(4, 2, 11, 3, 4, 2.5))]


def test_edges_keywords_and_profiles() -> None:
    pb = events_pb2
    edge = pb.GraphEdge(kind=2, user_id=1, target_user_id=2, removed=True, changed_at_ms=3)
    assert decoded(TOPIC_GRAPH, pb.GraphEvent(edge=edge)).edges == [(2, 1, 2, EdgeChange(3, True))]
    word = pb.MutedKeyword(user_id=1, keyword="spoiler", changed_at_ms=3)
    batch = decoded(TOPIC_GRAPH, pb.GraphEvent(muted_keyword=word))
    assert batch.keywords == [(1, "spoiler", EdgeChange(3, False))]
    profile = pb.UserProfile(
        user_id=1, screen_name="ana", verified=True, followers_count=2**64 - 1, changed_at_ms=9
    )
    batch = decoded(TOPIC_GRAPH, pb.GraphEvent(profile=profile))
    assert batch.profiles == [(1, Profile(9, "ana", True, 2**63 - 1))]


BAD: list[tuple[str, Any, str]] = [
    (TOPIC_POSTS, events_pb2.PostEvent(), "without its event"),
    (TOPIC_POSTS, post(post_id=0), "post_id is 0"),
    (TOPIC_POSTS, post(author_id=0), "author_id is 0"),
    (TOPIC_POSTS, post(created_at_ms=0), "created_at_ms is 0; milliseconds since 1970"),
    (TOPIC_POSTS, post(created_at_ms=-1), "created_at_ms is -1"),
    (TOPIC_POSTS, post(text="é" * TEXT_BYTES_MAX), "text has 200000 bytes; the limit is 100000"),
    (TOPIC_ACTIONS, events_pb2.ActionEvent(user_id=1, post_id=1, acted_at_ms=1), "action is 0"),
    (
        TOPIC_ACTIONS,
        events_pb2.ActionEvent(user_id=1, post_id=1, acted_at_ms=1, action=1, seconds=-1),
        "seconds is -1.0; 0 or more",
    ),
    (
        TOPIC_ACTIONS,
        events_pb2.ActionEvent(user_id=1, post_id=1, acted_at_ms=1, action=1, seconds=float("nan")),
        "seconds is nan",
    ),
    (
        TOPIC_GRAPH,
        events_pb2.GraphEvent(edge=events_pb2.GraphEdge(user_id=1, target_user_id=2)),
        "kind is 0; follow, block, mute or subscribe",
    ),
    (
        TOPIC_GRAPH,
        events_pb2.GraphEvent(
            muted_keyword=events_pb2.MutedKeyword(user_id=1, keyword=" ", changed_at_ms=1)
        ),
        "keyword is blank",
    ),
    (
        TOPIC_GRAPH,
        events_pb2.GraphEvent(
            muted_keyword=events_pb2.MutedKeyword(
                user_id=1, keyword="x" * (KEYWORD_BYTES_MAX + 1), changed_at_ms=1
            )
        ),
        "keyword has 1001 bytes",
    ),
]


@pytest.mark.parametrize(("topic", "event", "reason"), BAD)
def test_a_bad_event_is_refused_and_leaves_no_row(topic: str, event: Any, reason: str) -> None:
    batch = FeatureBatch()
    with pytest.raises(ValueError, match=reason):
        decode_event(topic, event.SerializeToString(), batch)
    assert len(batch) == 0


@pytest.mark.parametrize("topic", [TOPIC_POSTS, TOPIC_ACTIONS, TOPIC_GRAPH])
def test_a_truncated_event_is_refused(topic: str) -> None:
    whole = post(text="a text that is cut").SerializeToString()
    with pytest.raises(ValueError, match=f"not an event of {topic}"):
        decode_event(topic, whole[:-3], FeatureBatch())
