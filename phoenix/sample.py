"""A sample for the runners, cut out of an event log: one viewer, their history, new posts.

The viewer is the one with the most reactions; the candidates are the newest posts that stand by
themselves (no reposts) and that the viewer has neither written nor reacted to.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from protos import events_pb2
from service_kit.action_list import ACTION_NAMES, CONTINUOUS_ACTIONS, MODEL_ACTIONS
from service_kit.action_windows import UAS_WINDOW_TIME_MS
from service_kit.embedded_log import EmbeddedLogSource
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_GRAPH, TOPIC_POSTS, Record

POLL_RECORDS_MAX = 50_000
HISTORY_EVENTS, CANDIDATES = 40, 40


def sample_of_log(log_directory: Path) -> dict[str, Any]:
    """The JSON object of `phoenix.sequence_file`. ValueError: the log has no actions."""
    records = asyncio.run(_read(log_directory))
    actions = [events_pb2.ActionEvent.FromString(r.value) for r in records[TOPIC_ACTIONS]]
    if not actions:
        raise ValueError(f"{log_directory} holds no actions to take a sample from")
    created = [
        event.create
        for event in (events_pb2.PostEvent.FromString(r.value) for r in records[TOPIC_POSTS])
        if event.WhichOneof("event") == "create"
    ]
    viewer, _ = Counter(action.user_id for action in actions).most_common(1)[0]
    own = sorted((a for a in actions if a.user_id == viewer), key=lambda a: a.acted_at_ms)
    return {
        "user_id": viewer,
        "now_ms": max(own[-1].acted_at_ms, max(post.created_at_ms for post in created)) + 1,
        "history": _history(own),
        "candidates": _candidates(created, own, viewer, _names(records[TOPIC_GRAPH])),
    }


def _history(actions: list[events_pb2.ActionEvent]) -> list[dict[str, Any]]:
    """One event a post, from actions in order of time."""
    events: dict[int, dict[str, Any]] = {}
    for action in actions:
        fresh: dict[str, Any] = {
            "post_id": action.post_id, "author_id": action.author_id, "actions": [],
            "dwell_seconds": 0.0, "acted_at_ms": action.acted_at_ms,
        }  # fmt: skip
        event = events.setdefault(action.post_id, fresh)
        if action.acted_at_ms - event["acted_at_ms"] >= UAS_WINDOW_TIME_MS:
            continue
        name = ACTION_NAMES[action.action - 1]
        if name not in CONTINUOUS_ACTIONS and name in MODEL_ACTIONS:
            event["actions"] = sorted({*event["actions"], name})
        event["dwell_seconds"] = round(max(event["dwell_seconds"], action.seconds), 2)
    return sorted(events.values(), key=lambda event: event["acted_at_ms"])[-HISTORY_EVENTS:]


def _candidates(
    created: list[events_pb2.PostCreate],
    actions: list[events_pb2.ActionEvent],
    viewer: int,
    names: dict[int, str],
) -> list[dict[str, Any]]:
    seen = {action.post_id for action in actions}
    chosen = [
        post
        for post in sorted(created, key=lambda post: -post.created_at_ms)
        if post.post_id not in seen
        and post.author_id != viewer
        and not post.reposted_post_id
        and not post.subscription_author_id
        and post.text
    ]
    return [
        {
            "post_id": post.post_id, "author_id": post.author_id,
            "author": names.get(post.author_id, ""), "text": post.text,
        }
        for post in chosen[:CANDIDATES]
    ]  # fmt: skip


def _names(records: Iterable[Record]) -> dict[int, str]:
    events = (events_pb2.GraphEvent.FromString(record.value) for record in records)
    return {
        event.profile.user_id: event.profile.screen_name
        for event in events
        if event.WhichOneof("event") == "profile"
    }


async def _read(directory: Path) -> dict[str, list[Record]]:
    topics = [TOPIC_ACTIONS, TOPIC_POSTS, TOPIC_GRAPH]
    records: dict[str, list[Record]] = defaultdict(list)
    source = EmbeddedLogSource(directory, topics, start="earliest")
    try:
        end = await source.end_offsets()
        while any(source.positions().get(at, 0) < offset for at, offset in end.items()):
            for record in await source.poll(POLL_RECORDS_MAX, timeout_s=0.0):
                records[record.topic].append(record)
    finally:
        await source.close()
    return records
