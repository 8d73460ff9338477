"""Events of the three topics become rows of a `FeatureBatch`, or ValueError with the reason.

Everything that a store could choke on is refused here, one event at a time, so that a transaction
never fails because of one event's content.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from home_mixer.clients.writes import Action, EdgeChange, FeatureBatch, PostContent, Profile
from protos import actions_pb2, events_pb2
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_GRAPH, TOPIC_POSTS

TEXT_BYTES_MAX: Final = 100_000  # the longest posts of the original have 25,000 characters
KEYWORD_BYTES_MAX: Final = 1_000
SCREEN_NAME_BYTES_MAX: Final = 500
LABEL_BITS: Final = 32  # labels above are of a newer version: kept out, not refused
TIME_MS_MAX: Final = 1 << 48  # year 10889; beyond it a time is a mistake
FUTURE_MS_MAX: Final = (
    86_400_000  # a day: clocks differ by less, and what is dated ahead wins so long
)
FOLLOWERS_MAX: Final = (1 << 63) - 1

Decoder = Callable[[bytes, FeatureBatch, int], None]


def decode_event(
    topic: str, value: bytes, batch: FeatureBatch, latest_ms: int = TIME_MS_MAX
) -> None:
    """Adds one event's rows to ``batch``; raises ValueError and adds nothing for a bad one.

    ``latest_ms``: no event may be dated after it. A follow dated a year ahead would win over every
    unfollow of that year.
    """
    try:
        DECODERS[topic](value, batch, latest_ms)
    except ValueError:
        raise
    except Exception as error:  # protobuf's DecodeError has no public base but Exception
        raise ValueError(f"not an event of {topic}: {error}") from error


def _post_event(value: bytes, batch: FeatureBatch, latest_ms: int) -> None:
    event = events_pb2.PostEvent.FromString(value)
    kind = event.WhichOneof("event")
    if kind == "create":
        _create(event.create, batch, latest_ms)
    elif kind == "delete":
        deleted_at_ms = _time("deleted_at_ms", event.delete.deleted_at_ms, latest_ms)
        batch.statuses.append((_id("post_id", event.delete.post_id), True, deleted_at_ms))
    elif kind == "undelete":
        undeleted_at_ms = _time("undeleted_at_ms", event.undelete.undeleted_at_ms, latest_ms)
        batch.statuses.append((_id("post_id", event.undelete.post_id), False, undeleted_at_ms))
    elif kind == "quoted_post_delete":
        quoting_id = _id("quoting_post_id", event.quoted_post_delete.quoting_post_id)
        batch.quotes_gone.append(quoting_id)
    elif kind == "labels":
        labelled_at_ms = _time("labelled_at_ms", event.labels.labelled_at_ms, latest_ms)
        bits = sum(1 << label for label in set(event.labels.labels) if 0 < label < LABEL_BITS)
        batch.labels.append((_id("post_id", event.labels.post_id), bits, labelled_at_ms))
    else:
        raise ValueError("a PostEvent without its event: expected create, delete, undelete, …")


def _create(create: events_pb2.PostCreate, batch: FeatureBatch, latest_ms: int) -> None:
    videos = [m.duration_ms for m in create.media if m.kind == events_pb2.Media.KIND_VIDEO]
    content = PostContent(
        author_id=_id("author_id", create.author_id),
        created_at_ms=_time("created_at_ms", create.created_at_ms, latest_ms),
        in_reply_to_post_id=create.in_reply_to_post_id,
        in_reply_to_user_id=create.in_reply_to_user_id,
        conversation_id=create.conversation_id,
        reposted_post_id=create.reposted_post_id,
        reposted_user_id=create.reposted_user_id,
        quoted_post_id=create.quoted_post_id,
        quoted_user_id=create.quoted_user_id,
        subscription_author_id=create.subscription_author_id,
        video_duration_ms=videos[0] if videos else 0,
        has_media=len(create.media) > 0,
        text=_text("text", create.text, TEXT_BYTES_MAX),
    )
    batch.contents.append((_id("post_id", create.post_id), content))


def _action_event(value: bytes, batch: FeatureBatch, latest_ms: int) -> None:
    event = events_pb2.ActionEvent.FromString(value)
    if event.action not in KNOWN_ACTIONS:
        raise ValueError(f"action is {event.action}; a number of foryou.actions.v1.Action is due")
    if not math.isfinite(event.seconds) or event.seconds < 0:
        raise ValueError(f"seconds is {event.seconds}; 0 or more is expected")
    action = Action(
        acted_at_ms=_time("acted_at_ms", event.acted_at_ms, latest_ms),
        post_id=_id("post_id", event.post_id),
        action=event.action,
        author_id=event.author_id,
        product_surface=event.product_surface if event.product_surface in KNOWN_SURFACES else 0,
        seconds=event.seconds,
    )
    batch.actions.append((_id("user_id", event.user_id), action))


def _graph_event(value: bytes, batch: FeatureBatch, latest_ms: int) -> None:
    event = events_pb2.GraphEvent.FromString(value)
    kind = event.WhichOneof("event")
    if kind == "edge":
        _edge(event.edge, batch, latest_ms)
    elif kind == "muted_keyword":
        word = event.muted_keyword
        if not word.keyword.strip():
            raise ValueError("keyword is blank; it would mute nothing")
        text = _text("keyword", word.keyword, KEYWORD_BYTES_MAX)
        change = EdgeChange(_time("changed_at_ms", word.changed_at_ms, latest_ms), word.removed)
        batch.keywords.append((_id("user_id", word.user_id), text, change))
    elif kind == "profile":
        _profile(event.profile, batch, latest_ms)
    else:
        raise ValueError("a GraphEvent without its event: expected edge, muted_keyword or profile")


def _edge(edge: events_pb2.GraphEdge, batch: FeatureBatch, latest_ms: int) -> None:
    if edge.kind not in KNOWN_EDGES:
        raise ValueError(f"kind is {edge.kind}; follow, block, mute or subscribe is expected")
    change = EdgeChange(_time("changed_at_ms", edge.changed_at_ms, latest_ms), edge.removed)
    user_id, target_id = _id("user_id", edge.user_id), _id("target_user_id", edge.target_user_id)
    batch.edges.append((edge.kind, user_id, target_id, change))


def _profile(profile: events_pb2.UserProfile, batch: FeatureBatch, latest_ms: int) -> None:
    row = Profile(
        changed_at_ms=_time("changed_at_ms", profile.changed_at_ms, latest_ms),
        screen_name=_text("screen_name", profile.screen_name, SCREEN_NAME_BYTES_MAX),
        verified=profile.verified,
        followers_count=min(profile.followers_count, FOLLOWERS_MAX),
    )
    batch.profiles.append((_id("user_id", profile.user_id), row))


def _id(name: str, value: int) -> int:
    if value == 0:
        raise ValueError(f"{name} is 0; an id is expected")
    return value


def _time(name: str, value: int, latest_ms: int) -> int:
    if not 0 < value < TIME_MS_MAX:
        raise ValueError(f"{name} is {value}; milliseconds since 1970 are expected")
    if value > latest_ms:
        raise ValueError(
            f"{name} is {value}, after {latest_ms}, the latest that is believed; is the clock of "
            "the producer, or of this ingester, right?"
        )
    return value


def _text(name: str, value: str, bytes_max: int) -> str:
    if 4 * len(value) > bytes_max and len(value.encode()) > bytes_max:
        raise ValueError(f"{name} has {len(value.encode())} bytes; the limit is {bytes_max}")
    return value


KNOWN_ACTIONS: Final = frozenset(actions_pb2.Action.values()) - {0}
KNOWN_SURFACES: Final = frozenset(actions_pb2.ProductSurface.values())
KNOWN_EDGES: Final = frozenset(events_pb2.GraphEdge.Kind.values()) - {0}
DECODERS: Final[dict[str, Decoder]] = {
    TOPIC_POSTS: _post_event,
    TOPIC_ACTIONS: _action_event,
    TOPIC_GRAPH: _graph_event,
}
INGESTED_TOPICS: Final = tuple(DECODERS)
