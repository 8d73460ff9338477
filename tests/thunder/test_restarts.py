"""A replica goes on from its snapshot, on both logs, and does without one that misleads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service_kit.event_log import TOPIC_IN_NETWORK
from thunder.service import SERVICE_NAME

EVERYONE = range(1, 41)


async def grow(stages: Any, first: int, count: int) -> None:
    posts = [
        stages.post(i, author=i % 40 + 1, age_ms=600_000 - i) for i in range(first, first + count)
    ]
    await stages.write(*posts)


async def filled(stages: Any, mode: str, count: int) -> Any:
    """A replica with ``count`` posts."""
    await grow(stages, 1, count)
    if mode == "serving":
        await stages.start("feeder")
    replica = await stages.start(mode)
    await stages.until(lambda: replica.store.sizes().posts == count)
    return replica


@pytest.mark.parametrize("mode", ["standalone", "serving"])
async def test_t23_a_restart_reads_its_snapshot_and_of_the_topic_only_the_rest(
    stages: Any, mode: str
) -> None:
    first = await filled(stages, mode, 300)
    before = first.ids(*EVERYONE)
    handled = first.metrics.value("consumer_records_total", consumer="posts")
    assert handled >= 300
    await stages.stop(first)
    await grow(stages, 1_000, 10)
    second = await stages.start(mode)
    assert second.metrics.value("snapshot_restored_posts") == 300
    await stages.until(lambda: second.store.sizes().posts == 310)
    assert set(before) < set(second.ids(*EVERYONE))
    assert second.metrics.value("consumer_records_total", consumer="posts") < 20


async def test_a_share_goes_on_from_its_own_snapshot(stages: Any) -> None:
    await grow(stages, 1, 200)
    await stages.start("feeder")
    shares = [await stages.start("serving", share=f"{i}/2") for i in range(2)]
    await stages.until(lambda: sum(s.store.sizes().posts for s in shares) == 200)
    expected = [share.ids(*EVERYONE) for share in shares]
    for share in shares:
        await stages.stop(share)
    again = [await stages.start("serving", share=f"{i}/2") for i in range(2)]
    assert [share.ids(*EVERYONE) for share in again] == expected
    assert sum(s.metrics.value("snapshot_restored_posts") for s in again) == 200
    assert all(s.metrics.value("consumer_records_total", consumer="posts") == 0 for s in again)


async def test_snapshots_are_written_while_serving(stages: Any, tmp_path: Path) -> None:
    await grow(stages, 1, 50)
    replica = await stages.start("standalone", snapshot_interval_seconds=1.0)  # and time for each
    written = lambda: replica.metrics.value("snapshots_written_total")  # noqa: E731
    await stages.until(lambda: written() == 1)
    await grow(stages, 100, 1)
    await stages.until(lambda: written() == 2)
    assert len(list((tmp_path / "snapshots").glob("*.snapshot"))) == 2
    assert replica.readiness.serving(SERVICE_NAME)


async def test_a_damaged_snapshot_is_refused_and_the_topic_replayed(
    stages: Any, tmp_path: Path
) -> None:
    first = await filled(stages, "serving", 100)
    before = first.ids(*EVERYONE)
    await stages.stop(first)
    for path in (tmp_path / "snapshots").glob("*.snapshot"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    second = await stages.start("serving")
    assert second.ids(*EVERYONE) == before
    assert second.metrics.value("snapshots_refused_total", kind="damaged") >= 1
    assert second.metrics.value("snapshot_restored_posts") == 0


async def test_a_snapshot_of_another_log_is_refused(stages: Any, tmp_path: Path) -> None:
    """The log was made anew: its offsets mean other events."""
    first = await filled(stages, "serving", 100)
    await stages.stop(first)
    async with stages.anew() as others:
        await grow(others, 500, 5)
        await others.start("feeder")
        for path in (tmp_path / "snapshots").glob("*.snapshot"):
            others.snapshots.mkdir(parents=True, exist_ok=True)
            path.rename(others.snapshots / path.name)
        second = await others.start("serving")
        await others.until(lambda: second.store.sizes().posts == 5)
        assert second.metrics.value("snapshots_refused_total", kind="other_log") == 1


async def test_a_new_log_that_has_grown_past_the_snapshot_is_noticed(
    stages: Any, tmp_path: Path
) -> None:
    """By offsets alone it would be taken for the old one, and half its posts never be read."""
    first = await filled(stages, "standalone", 100)
    await stages.stop(first)
    async with stages.anew() as others:
        await grow(others, 500, 400)
        others.snapshots.mkdir(parents=True, exist_ok=True)
        for path in (tmp_path / "snapshots").glob("*.snapshot"):
            path.rename(others.snapshots / path.name)
        second = await others.start("standalone")
        await others.until(lambda: second.store.sizes().posts == 400)
        assert second.metrics.value("snapshots_refused_total", kind="other_log") == 1
        assert second.metrics.value("snapshot_restored_posts") == 0


async def test_t05_a_consumer_that_dies_is_not_served_from_and_comes_back(stages: Any) -> None:
    """The original's task panics and its process stays ready."""
    replica = await filled(stages, "standalone", 20)
    consumer = replica.thunder._consumer
    told: list[tuple[str, bool]] = []
    replica.readiness.listen(lambda name, serving: told.append((name, serving)))

    async def dies() -> None:
        raise RuntimeError("a bug in the client library")

    consumer._round = dies
    await stages.until(lambda: (SERVICE_NAME, False) in told)
    await stages.until(lambda: replica.readiness.serving(SERVICE_NAME))
    await grow(stages, 100, 1)
    await stages.until(lambda: replica.store.sizes().posts == 21)
    assert replica.metrics.value("part_restarts_total", part="posts") == 1


@pytest.mark.parametrize("stages", ["kafka"], indirect=True)  # the embedded log drops nothing
async def test_a_snapshot_that_retention_has_overtaken_is_refused(stages: Any) -> None:
    """Deletions may be among what is gone: the topic alone is complete, for it keeps longer."""
    first = await filled(stages, "serving", 100)
    await stages.stop(first)
    await grow(stages, 1_000, 100)
    await stages.until_written(TOPIC_IN_NETWORK, 200)
    await stages.drop_everything(TOPIC_IN_NETWORK)
    second = await stages.start("serving")
    assert second.metrics.value("snapshots_refused_total", kind="gap") == 1
    assert second.metrics.value("snapshot_restored_posts") == 0
    assert second.readiness.serving(SERVICE_NAME)
