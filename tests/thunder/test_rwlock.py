"""Queries and ingestion share one lock; neither may keep the other out."""

from __future__ import annotations

import threading
import time

from thunder.rwlock import ReadWriteLock


def until_waiting(lock: ReadWriteLock, kind: str) -> None:
    deadline = time.monotonic() + 10
    while getattr(lock, f"_{kind}_waiting") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_reader_that_waited_goes_before_the_next_write() -> None:
    """A query would otherwise wait for a whole batch, however small the steps it is written in."""
    lock, order = ReadWriteLock(), []

    def read() -> None:
        with lock.reading():
            order.append("read")

    reader = threading.Thread(target=read)
    with lock.writing():
        reader.start()
        until_waiting(lock, "readers")
    with lock.writing():
        order.append("write")
    reader.join(10)
    assert order == ["read", "write"]


def test_a_writer_that_waits_goes_before_new_readers() -> None:
    """Ingestion would otherwise starve under many queries."""
    lock, order = ReadWriteLock(), []

    def write() -> None:
        with lock.writing():
            order.append("write")

    def read() -> None:
        with lock.reading():
            order.append("read")

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    with lock.reading():
        threads[0].start()
        until_waiting(lock, "writers")
        threads[1].start()
        until_waiting(lock, "readers")
    for thread in threads:
        thread.join(10)
    assert order == ["write", "read"]


def test_readers_share_and_writers_do_not() -> None:
    lock = ReadWriteLock()
    barrier = threading.Barrier(2)
    inside = []

    def read() -> None:
        with lock.reading():
            barrier.wait(10)  # passes only when both are inside

    def write() -> None:
        for _ in range(200):
            with lock.writing():
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    for target in (read, write):
        threads = [threading.Thread(target=target) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert not barrier.broken
