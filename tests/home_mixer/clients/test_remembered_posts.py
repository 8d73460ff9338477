"""Remembered posts are exactly what the store says: nothing older, whoever wrote it and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from home_mixer.clients import embedded_changes
from home_mixer.clients.columns import POST_HEADER, encode_post, headers_of, texts_of
from home_mixer.clients.embedded import EmbeddedFeatureStore, EmbeddedFeatureWriter
from home_mixer.clients.embedded_changes import changed_since
from home_mixer.clients.embedded_posts import POSTS, EmbeddedPostStore
from home_mixer.clients.keys import id_key
from home_mixer.clients.remembered_posts import PostTable, RememberedPosts
from home_mixer.clients.writes import FeatureBatch, PostContent, PostState

MAP_BYTES = 64 << 20
IDS = np.arange(1, 301, dtype=np.uint64)


def content(text: str) -> PostContent:
    return PostContent(author_id=7, created_at_ms=3, text=text)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedFeatureStore]:
    store = EmbeddedFeatureStore(tmp_path, map_bytes=MAP_BYTES)
    store.writer.apply(FeatureBatch(contents=[(int(n), content(f"v0 {n}")) for n in IDS]), {})
    yield store
    store.close()


@pytest.fixture
def posts(store: EmbeddedFeatureStore) -> EmbeddedPostStore:
    posts = store.clients().posts
    assert isinstance(posts, EmbeddedPostStore)
    return posts


def row(post_id: int, text: str) -> tuple[np.ndarray, np.ndarray]:
    value = encode_post(PostState(content=PostContent(author_id=post_id, created_at_ms=1)))
    return headers_of([value]), texts_of([value + text.encode()])


def test_the_table_says_what_a_dictionary_would_or_nothing() -> None:
    """A row under another post's id would show one post's text as another's."""
    table, known, draw = PostTable(64), dict[int, str](), np.random.default_rng(5)
    hits = 0
    for step in range(400):
        ids = np.unique(draw.integers(1, 120, 10).astype(np.uint64))
        held, headers, texts = table.recall(ids)
        for n, here, header, text in zip(ids.tolist(), held, headers, texts, strict=True):
            assert (header["author_id"], text) == ((n, known[n]) if here else (0, ""))
            hits += here
        if step % 3 == 0:
            table.forget(ids[::2])
            continue
        new = ids[~held]
        known |= {n: f"{n} at {step}" for n in new.tolist()}
        rows = [row(n, known[n]) for n in new.tolist()]
        if rows:
            headers, texts = (np.concatenate(part) for part in zip(*rows, strict=True))
            table.remember(new, headers, texts)
    assert hits > 500  # it does remember
    table.clear()
    assert not table.recall(np.arange(1, 120, dtype=np.uint64)).held.any()


def test_a_post_that_two_threads_read_at_once_is_forgotten_whole() -> None:
    """A second row of it would outlive its delete."""
    table, one = PostTable(64), np.array([9], np.uint64)
    table.remember(one, *row(9, "nine"))
    table.remember(one, *row(9, "nine"))
    table.forget(one)
    assert not table.recall(one).held.any()


def test_no_posts_id_is_no_row() -> None:
    table = PostTable(64)
    table.remember(np.array([9], np.uint64), *row(9, "nine"))
    _, headers, texts = table.recall(np.array([0, 9, 0], np.uint64))
    assert headers["author_id"].tolist() == [0, 9, 0]
    assert texts.tolist() == ["", "nine", ""]


@pytest.mark.parametrize("rows_max", [4, 100])
def test_a_size_that_the_table_cannot_have_is_refused(rows_max: int) -> None:
    with pytest.raises(ValueError, match=f"rows_max is {rows_max}; expected a power of two"):
        PostTable(rows_max)


async def test_posts_are_read_from_the_store_once(
    store: EmbeddedFeatureStore, posts: EmbeddedPostStore
) -> None:
    """A table that never holds anything would cost a feed milliseconds and nobody would see it."""
    first = await posts.get_posts(IDS)
    with store._ingested.write() as txn:  # below the log: only a second read would see it
        number = txn.number()
        for n in IDS.tolist():
            txn.delete(POSTS, id_key(n))
        embedded_changes.log_changes(txn, [])
        assert txn.number() == number
    assert (await posts.get_posts(IDS)).text.tolist() == first.text.tolist()


async def test_a_change_is_seen_by_the_next_read(
    tmp_path: Path, store: EmbeddedFeatureStore, posts: EmbeddedPostStore
) -> None:
    """A deleted post that stays in the feed for a moment more."""
    await posts.get_posts(IDS)
    store.writer.apply(FeatureBatch(statuses=[(5, True, 10), (9, True, 10)]), {})
    batch = await posts.get_posts(IDS)
    assert IDS[batch.deleted].tolist() == [5, 9]
    assert IDS[(await posts.get_visibility(IDS)).deleted].tolist() == [5, 9]
    assert batch.text.tolist() == [f"v0 {n}" for n in IDS]
    store.writer.trim(4, rows_max=100)
    assert IDS[~(await posts.get_posts(IDS)).found].tolist() == [1, 2, 3]
    store.writer.apply(FeatureBatch(contents=[(2, content("again"))]), {})
    assert (await posts.get_posts(IDS[1:2])).text.tolist() == ["again"]


async def test_a_writer_without_the_log_is_noticed(
    store: EmbeddedFeatureStore, posts: EmbeddedPostStore
) -> None:
    """An ingester of an older version beside a newer home_mixer: its deletes must hold too."""
    await posts.get_posts(IDS)
    with store._ingested.write() as txn:
        txn.delete(POSTS, id_key(5))
    store.writer.apply(FeatureBatch(contents=[(1_000, content("new"))]), {})  # this one logs
    assert IDS[~(await posts.get_posts(IDS)).found].tolist() == [5]


async def test_a_reader_that_comes_after_the_log_was_cut_forgets_everything(
    store: EmbeddedFeatureStore, posts: EmbeddedPostStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home_mixer that nobody asked for an hour: the entry of a delete may be gone."""
    monkeypatch.setattr(embedded_changes, "ENTRIES_MAX", 4)
    await posts.get_posts(IDS)
    store.writer.apply(FeatureBatch(statuses=[(5, True, 10)]), {})
    for n in range(8):
        store.writer.apply(FeatureBatch(contents=[(1_000 + n, content("new"))]), {})
    with store._ingested.read() as txn:
        assert len(list(txn.cursor(embedded_changes.CHANGES))) <= 6
        assert changed_since(txn, txn.number() - 3) is not None
        assert changed_since(txn, txn.number() - 9) is None
    assert IDS[(await posts.get_posts(IDS)).deleted].tolist() == [5]


def test_a_row_read_before_a_change_is_not_kept_after_it(store: EmbeddedFeatureStore) -> None:
    """Two threads: one read the post, the other learned of its delete before the first kept it."""
    remembered, one = RememberedPosts(), IDS[4:5]
    with store._ingested.read() as old:
        assert not remembered.recall(old, one).held.any()
        deleted = FeatureBatch(statuses=[(5, True, 10)])
        writing = threading.Thread(target=store.writer.apply, args=(deleted, {}))
        writing.start()
        writing.join()
        learning = threading.Thread(target=_learn, args=(store, remembered))
        learning.start()
        learning.join()
        headers = np.zeros(1, POST_HEADER)
        remembered.remember(old, one, headers, np.array(["old"], object))
    with store._ingested.read() as txn:
        assert not remembered.recall(txn, one).held.any()


def _learn(store: EmbeddedFeatureStore, remembered: RememberedPosts) -> None:
    with store._ingested.read() as txn:
        remembered.recall(txn, IDS[:1])


async def test_reads_while_another_thread_writes_are_never_older_than_what_was_written(
    store: EmbeddedFeatureStore, posts: EmbeddedPostStore
) -> None:
    """Any order of reads and writes: a version that was stored before the read began, or later."""
    stored = [-1] * len(IDS)
    stop = threading.Event()

    def write(writer: EmbeddedFeatureWriter) -> None:
        draw = np.random.default_rng(3)
        for version in range(1, 200):
            at = int(draw.integers(len(IDS)))
            change = int(IDS[at]), version % 2 == 1, version
            writer.apply(FeatureBatch(statuses=[change]), {})
            stored[at] = version
        stop.set()

    thread = threading.Thread(target=write, args=(store.writer,))
    thread.start()
    while not stop.is_set():
        before = list(stored)
        headers, _ = await posts._threads.run(posts._read, IDS)
        assert (headers["status_at_ms"] >= before).all()
    thread.join()
    headers, _ = await posts._threads.run(posts._read, IDS)
    assert headers["status_at_ms"].tolist() == stored
