"""What only the embedded store can get wrong: files, formats, sizes and other processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest

from home_mixer.clients import embedded_actions, user_values
from home_mixer.clients.embedded import EmbeddedFeatureStore
from home_mixer.clients.embedded_served import HOUR_MS, VIEWER_RETENTION_MS
from home_mixer.clients.protocols import RequestInfo, StoreError, StoreFormatError, StoreFullError
from home_mixer.clients.writes import FOLLOW, Action, EdgeChange, FeatureBatch, PostContent

MAP_BYTES = 64 << 20


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


async def test_a_store_keeps_its_data_when_it_is_opened_again(tmp_path: Path) -> None:
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    store.writer.apply(FeatureBatch(contents=[(1, PostContent(2, 3, text="kept"))]), {("t", 0): 4})
    store.close()
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    assert (await store.clients().posts.get_posts(ids(1))).text.tolist() == ["kept"]
    assert store.writer.positions() == {("t", 0): 4}
    store.close()


def test_a_full_map_names_the_setting_to_raise_and_keeps_what_there_was(tmp_path: Path) -> None:
    store = EmbeddedFeatureStore(tmp_path, map_bytes=1 << 20)
    store.writer.apply(FeatureBatch(), {("t", 0): 1})
    large = [(n, PostContent(1, 2, text="x" * 50_000)) for n in range(1, 100)]
    with pytest.raises(StoreFullError, match=r"map of 1,048,576 bytes is full.*feature_map_bytes"):
        store.writer.apply(FeatureBatch(contents=large), {("t", 0): 100})
    assert store.writer.positions() == {("t", 0): 1}
    store.close()


def test_another_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES).close()
    env = lmdb.open(str(tmp_path / "ingested"), map_size=MAP_BYTES, max_dbs=10)
    with env.begin(write=True) as txn:
        txn.put(b"format", b"foryou-features/999")
    env.close()
    with pytest.raises(StoreFormatError, match=r"foryou-features/999.*another directory"):
        EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ingested").mkdir()
    (tmp_path / "ingested" / "data.mdb").write_bytes(b"no database " * 2000)
    with pytest.raises(StoreFormatError, match="no feature store"):
        EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)


async def test_another_process_sees_and_adds_data(tmp_path: Path) -> None:
    store = EmbeddedFeatureStore(tmp_path, map_bytes=1 << 20)  # theirs outgrows it
    store.writer.apply(FeatureBatch(contents=[(1, PostContent(2, 3))]), {})
    program = f"""
from pathlib import Path
from home_mixer.clients.embedded import EmbeddedFeatureWriter
from home_mixer.clients.writes import FeatureBatch, PostContent
writer = EmbeddedFeatureWriter.open(Path({str(tmp_path)!r}), map_bytes={MAP_BYTES})
rows = [(n, PostContent(5, 6, text="theirs" * 1_000)) for n in range(2, 500)]
writer.apply(FeatureBatch(contents=rows), {{("t", 0): 7}})
writer.close()
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True, timeout=60)
    batch = await store.clients().posts.get_posts(ids(1, 2))
    assert batch.found.tolist() == [True, True]
    assert batch.text[1].startswith("theirs")
    assert store.writer.positions() == {("t", 0): 7}
    store.close()


async def test_a_users_actions_are_bounded_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_actions, "ACTIONS_PER_USER_MAX", 8)
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    for start in range(0, 100, 5):
        rows = [(1, Action(t, 50, 1, 9, 1, 0.0)) for t in range(start, start + 5)]
        neighbours = [(2, Action(start, 50, 1, 9, 1, 0.0))]
        store.writer.apply(FeatureBatch(actions=rows + neighbours * (start == 0)), {})
    actions = store.clients().actions
    newest = await actions.newest_actions(1, 100)
    assert newest.acted_at_ms.tolist() == list(range(92, 100))
    assert len(await actions.newest_actions(2, 100)) == 1  # nobody else's went
    with store._ingested.read() as txn:
        assert txn.cursor("actions").first()
        assert sum(1 for _ in txn.cursor("actions")) <= 8 * 5 // 4 + 1
    store.close()


async def test_a_users_edges_are_bounded_to_the_newest_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_values, "EDGES_PER_USER_MAX", 3)
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    rows = [(FOLLOW, 1, target, EdgeChange(100 - target, False)) for target in range(1, 10)]
    store.writer.apply(FeatureBatch(edges=rows), {})
    features = await store.clients().graph.get_features(1)
    assert features.followed_user_ids.tolist() == [1, 2, 3]
    store.close()


async def test_viewers_who_stay_away_are_forgotten(tmp_path: Path) -> None:
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    served, requests = store.clients().served, store.clients().requests
    await served.add_served(1, ids(10), HOUR_MS)
    await requests.put_request(1, RequestInfo("r", HOUR_MS, "h", ids(10)))
    await served.add_served(2, ids(10), HOUR_MS)
    late_ms = VIEWER_RETENTION_MS + 3 * HOUR_MS
    await served.add_served(2, ids(11), late_ms - HOUR_MS)  # viewer 2 came back
    await served.add_served(3, ids(12), late_ms)
    assert (await served.served_since(1, 0, 10)).tolist() == []
    assert await requests.get_request(1) is None
    assert (await served.served_since(2, 0, 10)).tolist() == [11, 10]
    store.close()


def test_a_writer_that_was_closed_says_so(tmp_path: Path) -> None:
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    store.close()
    with pytest.raises(StoreError, match="has been closed"):
        store.writer.apply(FeatureBatch(), {})


async def test_writes_that_wait_together_are_one_transaction(tmp_path: Path) -> None:
    """Two ends of transactions a feed wait for the disk twice."""
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    clients = store.clients()
    with store._served.read() as txn:
        before = txn.number()
    info = RequestInfo("r", HOUR_MS, "hash", ids(7))
    await asyncio.gather(
        clients.served.add_served(1, ids(7), HOUR_MS), clients.requests.put_request(1, info)
    )
    with store._served.read() as txn:
        assert txn.number() == before + 1
    assert (await clients.served.served_since(1, 0, 9)).tolist() == [7]
    assert (await clients.requests.get_request(1)) is not None
    store.close()


async def test_a_write_that_fails_is_told_to_all_that_shared_its_transaction(
    tmp_path: Path,
) -> None:
    """The second of two would believe that it was stored."""
    store = EmbeddedFeatureStore(tmp_path, map_bytes=1 << 20)
    clients = store.clients()
    long = RequestInfo("r", HOUR_MS, "hash", np.zeros(1 << 18, np.uint64))
    results = await asyncio.gather(
        clients.requests.put_request(1, long),
        clients.served.add_served(1, ids(7), HOUR_MS),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [StoreFullError, StoreFullError]
    await clients.served.add_served(1, ids(7), HOUR_MS)
    assert (await clients.served.served_since(1, 0, 9)).tolist() == [7]
    store.close()
