"""Topic `foryou.posts`: creations, deletions, undeletions, labels and lost quotes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foryou.world.event_parts import entry, event_keys
from foryou.world.posts import NEVER_MS, QUOTE, REPLY, REPOST
from foryou.world.world import World
from protos import events_pb2
from service_kit.event_log import Entry

LABEL_DELAY_MS = 60_000  # a classifier labels a post a minute after it appears


def post_events(world: World) -> list[Entry]:
    """Creations, deletions, undeletions, labels and lost quotes."""
    return [*_creations(world), *_deletions(world), *_labels(world), *_lost_quotes(world)]


def _creations(world: World) -> Iterator[Entry]:
    posts, ids = world.posts, world.posts.ids.tolist()
    author_ids = world.accounts.ids[posts.authors]
    authors, created = author_ids.tolist(), posts.created_ms.tolist()
    keys, kinds = event_keys(author_ids), posts.kinds.tolist()
    targets, roots = posts.targets.tolist(), posts.roots.tolist()
    videos, photos, paid = posts.video_ms.tolist(), posts.photo.tolist(), posts.paid.tolist()
    for row, post_id in enumerate(ids):
        create = events_pb2.PostCreate(
            post_id=post_id,
            author_id=authors[row],
            created_at_ms=created[row],
            text=posts.texts[row],
            language_code="en",
            conversation_id=ids[roots[row]],
        )
        if targets[row] >= 0:
            _refer(create, kinds[row], ids[targets[row]], authors[targets[row]])
        if videos[row]:
            create.media.add(kind=events_pb2.Media.KIND_VIDEO, duration_ms=videos[row])
        if photos[row]:
            create.media.add(kind=events_pb2.Media.KIND_PHOTO)
        if paid[row]:
            create.subscription_author_id = authors[row]
        value = events_pb2.PostEvent(create=create).SerializeToString()
        yield keys[row], value, created[row]


def _refer(create: events_pb2.PostCreate, kind: int, post_id: int, user_id: int) -> None:
    if kind == REPLY:
        create.in_reply_to_post_id, create.in_reply_to_user_id = post_id, user_id
    elif kind == REPOST:
        create.reposted_post_id, create.reposted_user_id = post_id, user_id
    elif kind == QUOTE:
        create.quoted_post_id, create.quoted_user_id = post_id, user_id


def _deletions(world: World) -> Iterator[Entry]:
    posts = world.posts
    for row in np.flatnonzero(posts.deleted_ms != NEVER_MS).tolist():
        post_id, author_id = _identity(world, row)
        at_ms = int(posts.deleted_ms[row])
        gone = events_pb2.PostDelete(post_id=post_id, author_id=author_id, deleted_at_ms=at_ms)
        yield entry(author_id, events_pb2.PostEvent(delete=gone), at_ms)
        if posts.undeleted_ms[row] != NEVER_MS:
            at_ms = int(posts.undeleted_ms[row])
            back = events_pb2.PostUndelete(
                post_id=post_id, author_id=author_id, undeleted_at_ms=at_ms
            )
            yield entry(author_id, events_pb2.PostEvent(undelete=back), at_ms)


def _labels(world: World) -> Iterator[Entry]:
    posts = world.posts
    for row in np.flatnonzero(posts.labels).tolist():
        post_id, author_id = _identity(world, row)
        at_ms = min(int(posts.created_ms[row]) + LABEL_DELAY_MS, world.config.now_ms)
        labels = events_pb2.PostLabels(
            post_id=post_id,
            author_id=author_id,
            labels=[events_pb2.VisibilityLabel.ValueType(int(posts.labels[row]))],
            labelled_at_ms=at_ms,
        )
        yield entry(author_id, events_pb2.PostEvent(labels=labels), at_ms)


def _lost_quotes(world: World) -> Iterator[Entry]:
    """A post that quotes what is deleted for good loses its card."""
    posts = world.posts
    gone = posts.deleted_at(world.config.now_ms)
    quotes = np.flatnonzero((posts.kinds == QUOTE) & gone[np.maximum(posts.targets, 0)])
    for row in quotes.tolist():
        post_id, author_id = _identity(world, row)
        target = int(posts.targets[row])
        at_ms = max(int(posts.deleted_ms[target]), int(posts.created_ms[row]))
        lost = events_pb2.QuotedPostDelete(
            quoting_post_id=post_id,
            quoting_author_id=author_id,
            quoted_post_id=int(posts.ids[target]),
            deleted_at_ms=at_ms,
        )
        yield entry(author_id, events_pb2.PostEvent(quoted_post_delete=lost), at_ms)


def _identity(world: World, row: int) -> tuple[int, int]:
    return int(world.posts.ids[row]), int(world.accounts.ids[world.posts.authors[row]])
