"""A snapshot brings back the same answers, and one that could mislead is never used."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service_kit.clock import ManualClock
from service_kit.metrics import Metrics
from thunder import layout, snapshot_copy, snapshot_format
from thunder.layout import REPLY, REPOST, ROW, VIDEO
from thunder.metrics import SnapshotMetrics
from thunder.shares import Share
from thunder.snapshot import LogBounds, Snapshots, Stand
from thunder.store import PostStore, Query

TOPIC = "foryou.in_network_posts"
FINGERPRINT = "016245d9250cec7c"
POSITIONS = {(TOPIC, 0): 40, (TOPIC, 1): 7}
STAND = Stand(POSITIONS, {(TOPIC, 0): (39, 12345)})
NOTHING = Stand({})
LOG = LogBounds(starts=dict.fromkeys(POSITIONS, 0), ends=dict.fromkeys(POSITIONS, 100))


class Place:
    """A directory of snapshots and the clock of its replicas."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.metrics = Metrics("thunder")
        self._counters = SnapshotMetrics(self.metrics)

    def snapshots(self, topic: str = TOPIC, share: str = "0/1") -> Snapshots:
        return Snapshots(self.directory, topic, Share.parse(share), self.clock, self._counters)

    def store(self, posts_max: int = 5_000, **options: Any) -> PostStore:
        return PostStore(self.clock, posts_max=posts_max, **options)

    def filled(self, posts: int = 2_000) -> PostStore:
        store = self.store()
        fill(store, self.clock, posts)
        return store

    def files(self) -> list[Path]:
        return sorted(self.directory.iterdir())

    def refused(self, kind: str) -> float:
        return self.metrics.value("snapshots_refused_total", kind=kind)


def fill(store: PostStore, clock: ManualClock, posts: int, first: int = 1) -> None:
    rows = np.zeros(posts, ROW)
    ids = np.arange(first, first + posts)
    rows["post_id"], rows["author_id"] = ids, 1 + ids % 97
    rows["created_at_ms"] = clock.now_ms() - 10_000 + np.arange(posts)
    flags = np.array([0, REPLY, REPOST, VIDEO], np.uint8)[ids % 4]
    rows["in_reply_to_post_id"] = np.where(flags == REPLY, ids // 2 + 1, 0)
    rows["source_post_id"] = np.where(flags == REPOST, ids // 2 + 1, 0)
    store.insert(rows, flags)
    gone = np.concatenate([ids[::9], ids[:50] + 10_000_000]).astype(np.uint64)  # some unknown
    at_ms = np.full(gone.size, clock.now_ms(), np.int64)
    store.apply_statuses((gone, at_ms, np.ones(gone.size, np.uint8)))


def answers(store: PostStore) -> list[list[int]]:
    everyone, nothing = np.arange(1, 99, dtype=np.uint64), np.array([], np.uint64)
    return [
        store.query(Query(5, everyone, nothing, 5_000, videos)).posts["post_id"].tolist()
        for videos in (False, True)
    ]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "snapshots")


def test_a_restart_answers_the_same_and_knows_where_to_go_on(place: Place) -> None:
    before = place.filled()
    assert place.snapshots().write(before, STAND)
    after = place.store()
    assert place.snapshots().restore(after, LOG) == STAND
    assert answers(after) == answers(before)
    assert len(answers(after)[0]) > 500
    assert after.sizes() == before.sizes()
    assert place.metrics.value("snapshot_restored_posts") == 2_000


def test_a_restored_store_lives_on(place: Place) -> None:
    """Inserts, deletions, trims, growth and eviction work on what was read."""
    before = place.filled()
    place.snapshots().write(before, STAND)
    after = place.store()
    place.snapshots().restore(after, LOG)
    for store in (before, after):
        fill(store, place.clock, 4_000, first=1_500)  # again some, more than fit
    assert answers(after) == answers(before)
    place.clock.advance_ms(172_800_000 - 9_000)
    assert after.trim() == before.trim() > 0
    assert answers(after) == answers(before)
    place.clock.advance_ms(172_800_000)
    after.trim()
    assert after.sizes().posts == after.sizes().tombstones == 0


def test_a_larger_memory_takes_the_snapshot_of_a_smaller_one(place: Place) -> None:
    before = place.filled()
    place.snapshots().write(before, STAND)
    larger = place.store(posts_max=50_000)
    assert place.snapshots().restore(larger, LOG) == STAND
    fill(larger, place.clock, 20_000, first=10_000)
    assert larger.sizes().posts == 22_000


def test_the_newest_two_stay_and_nothing_else(place: Place) -> None:
    store = place.filled()
    for _ in range(4):
        place.clock.advance_ms(1000)
        place.snapshots().write(store, STAND)
    names = [path.name for path in place.files()]
    newest_ms = place.clock.now_ms()
    assert names == [f"{TOPIC}-0-of-1-{ms:015d}.snapshot" for ms in (newest_ms - 1000, newest_ms)]


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(bytes(data))


def section_middles(path: Path) -> list[int]:
    with path.open("rb") as file:
        _, sections = snapshot_format.read_about(file)
    sizes = {name: array.nbytes for name, array in layout.new_state(1)._asdict().items()}
    assert sizes.keys() == {section.name for section in sections}
    return [section.offset for section in sections]


def test_every_damaged_byte_is_found(place: Place) -> None:
    place.snapshots().write(place.filled(), STAND)
    (path,) = place.files()
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    spots = [*section_middles(path), *rng.integers(16, len(whole), 40).tolist()]
    spots += [
        0,
        9,
        12,
        15,
        len(whole) - 1,
        len(whole) - 9,
        len(whole) - 12,
        len(whole) - 20,
        len(whole) - 30,
    ]
    for count, spot in enumerate(sorted(set(spots)), 1):
        damage(path, spot)
        store = place.store()
        assert place.snapshots().restore(store, LOG) == NOTHING, f"byte {spot}"
        assert store.sizes().posts == 0
        assert place.refused("damaged") + place.refused("format") == count
        path.write_bytes(whole)


@pytest.mark.parametrize("kept", [0, 5, 16, 1000, -1, -24])
def test_one_that_was_cut_off_is_refused_and_the_one_before_is_used(
    place: Place, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = place.filled()
    older = Stand({(TOPIC, 0): 1, (TOPIC, 1): 1})
    place.snapshots().write(store, older)
    place.clock.advance_ms(1000)
    place.snapshots().write(store, STAND)
    newest = place.files()[-1]
    newest.write_bytes(newest.read_bytes()[:kept])
    after = place.store()
    assert place.snapshots().restore(after, LOG) == older
    assert answers(after) == answers(store)
    assert place.refused("damaged") == 1
    (said,) = [r for r in caplog.records if "refused" in r.message]
    assert str(newest) == said.path  # type: ignore[attr-defined]


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the table of contents and its check sum with it."""
    data = path.read_bytes()
    tail = snapshot_format.TAIL
    size, _, magic = tail.unpack(data[-tail.size :])
    about = json.loads(data[-tail.size - size : -tail.size])
    change(about)
    contents = json.dumps(about).encode()
    end = tail.pack(len(contents), zlib.crc32(contents), magic)
    path.write_bytes(data[: -tail.size - size] + contents + end)


def test_another_format_is_refused_with_both_versions(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.snapshots().write(place.filled(), STAND)
    (path,) = place.files()
    for version in (1, 3):
        data = bytearray(path.read_bytes())
        struct.pack_into("<Q", data, 8, version)
        path.write_bytes(bytes(data))
        assert place.snapshots().restore(place.store(), LOG) == NOTHING
    assert place.refused("format") == 2
    reasons = [r.reason for r in caplog.records if hasattr(r, "reason")]
    assert reasons[-1] == "its format is version 3: this build reads 2 only"


@pytest.mark.parametrize("field", ["positions", "marks", "retention_ms"])
def test_one_without_a_field_is_refused_and_never_stops_the_start(place: Place, field: str) -> None:
    place.snapshots().write(place.filled(), STAND)
    rewrite(place.files()[-1], lambda about: about.pop(field))
    assert place.snapshots().restore(place.store(), LOG) == NOTHING
    assert place.refused("format") == 1


def test_another_layout_in_memory_is_refused(place: Place) -> None:
    place.snapshots().write(place.filled(), STAND)
    (path,) = place.files()
    rewrite(path, lambda about: about.update(layout="0123456789abcdef"))
    assert place.snapshots().restore(place.store(), LOG) == NOTHING
    assert place.refused("format") == 1


def test_the_layout_has_not_changed_unnoticed() -> None:
    """A change of the arrays, or of what they mean, must refuse the snapshots of before: where
    this fails, snapshots of the last release are replayed over. If only a meaning changed (the
    hash, the order in segments), raise layout.MEANING."""
    assert layout.fingerprint() == FINGERPRINT


def test_another_share_or_topic_is_refused(place: Place) -> None:
    place.snapshots(share="0/2").write(place.filled(), STAND)
    assert place.snapshots().restore(place.store(), LOG) == NOTHING, "the name is another"
    (path,) = place.files()
    path.rename(path.with_name(path.name.replace("0-of-2", "0-of-1")))
    assert place.snapshots().restore(place.store(), LOG) == NOTHING
    path = place.files()[0]
    path.rename(path.with_name(path.name.replace(TOPIC, "foryou.posts")))
    assert place.snapshots("foryou.posts").restore(place.store(), LOG) == NOTHING
    assert place.refused("other_share") == 2


@pytest.mark.parametrize(
    ("starts", "ends", "kind", "reason"),
    [
        ({0: 0, 1: 0}, {0: 39, 1: 100}, "other_log", "beyond its end at 39"),
        ({0: 0}, {0: 100}, "other_log", "does not have"),
        ({0: 41, 1: 0}, {0: 100, 1: 100}, "gap", "now begins at 41"),
    ],
)
def test_offsets_that_the_log_does_not_continue_are_refused(
    place: Place,
    starts: dict[int, int],
    ends: dict[int, int],
    kind: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place.snapshots().write(place.filled(), STAND)
    log = LogBounds(
        {(TOPIC, p): at for p, at in starts.items()}, {(TOPIC, p): at for p, at in ends.items()}
    )
    store = place.store()
    assert place.snapshots().restore(store, log) == NOTHING
    assert store.sizes().posts == 0
    assert place.refused(kind) == 1
    assert any(reason in getattr(r, "reason", "") for r in caplog.records)


def test_the_ends_of_the_log_itself_are_no_gap(place: Place) -> None:
    place.snapshots().write(place.filled(), STAND)
    log = LogBounds(dict(POSITIONS), {**POSITIONS, (TOPIC, 2): 5})
    assert place.snapshots().restore(place.store(), log) == STAND


def test_settings_that_ask_for_more_than_it_holds_replay_the_topic(place: Place) -> None:
    place.snapshots().write(place.filled(), STAND)
    longer = place.store(retention_ms=200_000_000)
    assert place.snapshots().restore(longer, LOG) == NOTHING
    assert place.snapshots().restore(place.store(posts_max=500), LOG) == NOTHING
    assert place.refused("settings") == 2
    assert place.snapshots().restore(place.store(retention_ms=1_000_000), LOG) == STAND


def test_what_a_killed_writer_left_is_removed(place: Place) -> None:
    place.snapshots().write(place.filled(), STAND)
    partial = place.directory / f"{TOPIC}-0-of-1-deadbeef.partial"
    partial.write_bytes(b"half")
    place.snapshots().restore(place.store(), LOG)
    assert not partial.exists()
    assert len(place.files()) == 1


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from service_kit.clock import SystemClock
from service_kit.metrics import Metrics
from thunder.metrics import SnapshotMetrics
from thunder.shares import WHOLE
from thunder.snapshot import LogBounds, Snapshots, Stand, Stand
from thunder.store import PostStore
import numpy as np
from thunder.layout import ROW

clock, metrics = SystemClock(), Metrics("thunder")
snapshots = Snapshots(Path(sys.argv[1]), "t", WHOLE, clock, SnapshotMetrics(metrics))
store = PostStore(clock, posts_max=5000)
assert snapshots.write(store, Stand({("t", 0): 1}))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
rows = np.zeros(4000, ROW)
rows["post_id"] = np.arange(1, 4001)
rows["author_id"], rows["created_at_ms"] = 1 + np.arange(4000) % 9, clock.now_ms()
assert store.insert(rows, np.zeros(4000, np.uint8)) == {"applied": 4000}
assert not snapshots.write(store, Stand({("t", 0): 2}))
assert metrics.value("snapshot_failures_total") == 1
assert store.sizes().posts == 4000
after = PostStore(clock, posts_max=5000)
log = LogBounds({("t", 0): 0}, {("t", 0): 5})
assert snapshots.restore(after, log).positions == {("t", 0): 1}, "the one before stays"
"""


def test_a_full_disk_leaves_the_one_before_and_serving_goes_on(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk's end: both are an error inside a write."""
    assert hasattr(resource, "RLIMIT_FSIZE")
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert run.returncode == 0, run.stderr
    assert "snapshot not written" in run.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".snapshot"], "no part is left"


def test_a_snapshot_that_runs_out_of_time_leaves_nothing(place: Place) -> None:
    assert not place.snapshots().write(place.filled(), STAND, keep_going=lambda: False)
    assert place.files() == []
    assert place.metrics.value("snapshot_failures_total") == 1


def test_its_age_is_never_negative(place: Place) -> None:
    metrics = Metrics("thunder")
    counters = SnapshotMetrics(metrics)
    assert metrics.value("snapshot_age_seconds") == -1
    counters.wrote(10, 0.1, 5_000)
    counters.show_age(9_000)
    assert metrics.value("snapshot_age_seconds") == 4
    counters.show_age(1_000)
    assert metrics.value("snapshot_age_seconds") == 0


def test_queries_go_on_while_a_snapshot_is_taken(place: Place) -> None:
    store = place.filled()
    with store.frozen():
        assert len(answers(store)[0]) > 500


@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_inserted_while_a_snapshot_is_written_is_not_in_it(
    place: Place, *, in_place: bool
) -> None:
    """Inserts must not wait for the disk; in place they must, or a half-changed store is saved."""
    store, expected = place.filled(), place.filled()
    inserts: list[threading.Thread] = []

    def insert() -> bool:
        """Asked between chunks; in place the insert ends after the snapshot."""
        if not inserts:
            inserts.append(threading.Thread(target=fill, args=(store, place.clock, 500, 5_000)))
            inserts[0].start()
        if not in_place:
            inserts[0].join(60)
            assert not inserts[0].is_alive(), "an insert waits for the disk"
        return True

    assert place.snapshots().write(store, STAND, insert, in_place=in_place)
    inserts[0].join(60)
    after = place.store()
    assert place.snapshots().restore(after, LOG) == STAND
    assert answers(after) == answers(expected)
    assert after.sizes() == expected.sizes()
    assert answers(store) != answers(expected)
    assert place.metrics.value("snapshot_pause_seconds_count") == 1


@pytest.mark.parametrize("grown", [0, 3, 100])
def test_a_copy_is_the_store_whatever_it_grew_by_since_its_room_was_made(grown: int) -> None:
    """Too little room must not cut a snapshot short, nor old bytes of it get in."""
    before = {"a": np.arange(128, dtype=np.uint64), "b": np.zeros(0, ROW)}
    room = snapshot_copy.room_for(before)
    now = {"a": np.arange(7, 135 + grown, dtype=np.uint64), "b": np.ones(grown, ROW)}
    copies = snapshot_copy.copied(now, room)
    assert {name: copy.tolist() for name, copy in copies.items()} == {
        name: array.tolist() for name, array in now.items()
    }
    assert not any(np.shares_memory(copies[name], now[name]) for name in now)
    assert room == {}
