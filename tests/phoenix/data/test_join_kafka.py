"""Training learns the same from Kafka as from the embedded log, however its partitions are cut."""

from __future__ import annotations

import asyncio
import uuid

import numpy as np
import pytest

from phoenix.data import join
from phoenix.data.join import impressions_from_deployment
from protos import actions_pb2, events_pb2
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_POSTS, TOPIC_SERVED, Entry, event_key
from service_kit.event_logs import open_sink
from service_kit.settings import ServiceSettings
from service_kit.topics import ensure_topics

START_MS = 1_795_000_000_000
VIEWERS = 40


class Settings(ServiceSettings):
    """Of a deployment; nothing but where its events are matters here."""


def events() -> dict[str, list[Entry]]:
    served, actions = [], []
    for viewer in range(1, VIEWERS + 1):
        at_ms = START_MS + viewer
        shown = events_pb2.ServedEvent(viewer_id=viewer, served_at_ms=at_ms)
        shown.posts.add(post_id=viewer * 10, author_id=5)
        served.append((event_key(viewer), shown.SerializeToString(), at_ms))
        acted = events_pb2.ActionEvent(
            user_id=viewer,
            post_id=viewer * 10,
            author_id=5,
            action=actions_pb2.Action.ACTION_FAVORITE,
            acted_at_ms=at_ms + 1,
        )
        actions.append((event_key(viewer), acted.SerializeToString(), at_ms + 1))
    return {TOPIC_SERVED: served, TOPIC_ACTIONS: actions}


async def filled(settings: Settings) -> None:
    sink = await open_sink(settings)
    for topic, entries in events().items():
        await sink.append_many(topic, entries)
    await sink.flush()
    await sink.close()


def test_kafka_teaches_what_the_directory_teaches(kafka_bootstrap_servers, tmp_path):
    directory = Settings(data_dir=tmp_path)
    kafka = Settings(
        data_dir=tmp_path / "empty",
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        kafka_topic_prefix=f"join-{uuid.uuid4().hex}.",
    )

    async def fill() -> None:
        await ensure_topics(kafka, partitions=3)
        await filled(kafka)
        await filled(directory)

    asyncio.run(fill())
    ours, theirs = impressions_from_deployment(kafka), impressions_from_deployment(directory)
    assert len(ours) == len(theirs) > VIEWERS
    for column in ("viewer_ids", "post_ids", "impressed_at_ms", "labels", "weight"):
        assert np.array_equal(getattr(ours, column), getattr(theirs, column))


class SilentSource:
    """A log that says there is more and never gives it."""

    async def end_offsets(self):
        return {(TOPIC_POSTS, 3): 7}

    def positions(self):
        return {}

    async def poll(self, max_records, timeout_s):
        await asyncio.sleep(0)
        return []

    async def close(self):
        pass


async def test_a_log_that_falls_silent_ends_the_training_with_its_place(monkeypatch):
    """It would wait for ever, and say nothing."""
    monkeypatch.setattr(join, "SILENCE_SECONDS_MAX", 0.05)
    with pytest.raises(TimeoutError, match=r"foryou\.posts\[3\] at 0 of 7"):
        await join._read_all(SilentSource())
