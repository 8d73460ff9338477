"""The embedded log on real files: crashes, damage, several processes, segments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service_kit import embedded_log, log_groups
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter, LogCorruptedError

TOPIC = "posts"
Entry = tuple[bytes, bytes, int]


def entries(count: int, first: int = 0) -> list[Entry]:
    return [(b"k", b"value %06d" % i, i) for i in range(first, first + count)]


def only_segment(directory: Path) -> Path:
    (path,) = (directory / TOPIC / "000").glob("*.log")
    return path


async def values(directory: Path, count: int = 100_000) -> list[bytes]:
    source = EmbeddedLogSource(directory, [TOPIC])
    taken: list[bytes] = []
    while records := await source.poll(count, 0.0):
        taken += [r.value for r in records]
    return taken


def write(directory: Path, count: int, first: int = 0) -> EmbeddedLogWriter:
    writer = EmbeddedLogWriter(directory)
    writer.append_many_sync(TOPIC, entries(count, first))
    return writer


async def test_every_torn_tail_is_waited_for_then_cut_by_the_next_writer(tmp_path: Path) -> None:
    write(tmp_path, 3).close_sync()
    path = only_segment(tmp_path)
    whole = path.read_bytes()
    write(tmp_path, 2, first=3).close_sync()
    longer = path.read_bytes()
    for size in range(len(whole) + 1, len(longer)):
        path.write_bytes(longer[:size])
        assert await values(tmp_path) == [e[1] for e in entries(3)], f"torn at byte {size}"
    write(tmp_path, 1, first=9).close_sync()
    assert await values(tmp_path) == [e[1] for e in [*entries(3), *entries(1, first=9)]]


async def test_a_tail_of_zeros_after_a_power_cut_counts_as_torn(tmp_path: Path) -> None:
    write(tmp_path, 3).close_sync()
    with only_segment(tmp_path).open("ab") as file:
        file.write(bytes(4096))
    assert len(await values(tmp_path)) == 3
    write(tmp_path, 1, first=3).close_sync()
    assert await values(tmp_path) == [e[1] for e in entries(4)]


async def test_damage_names_file_byte_and_way_out(tmp_path: Path) -> None:
    writer = write(tmp_path, 2)
    path = only_segment(tmp_path)
    second_frame = path.stat().st_size
    writer.append_many_sync(TOPIC, entries(2, first=2))
    writer.append_many_sync(TOPIC, entries(1, first=4))
    damaged = bytearray(path.read_bytes())
    damaged[second_frame + 60] ^= 1
    path.write_bytes(bytes(damaged))
    source = EmbeddedLogSource(tmp_path, [TOPIC])
    assert len(await source.poll(2, 0.0)) == 2
    with pytest.raises(LogCorruptedError) as caught:
        await source.poll(10, 0.0)
    assert f"{path}, byte {second_frame}" in str(caught.value)
    assert "seek(topic, partition, 4)" in str(caught.value)
    source.seek(TOPIC, 0, 4)
    assert [r.value for r in await source.poll(10, 0.0)] == [b"value 000004"]


async def test_a_damaged_header_is_an_error_not_silence(tmp_path: Path) -> None:
    write(tmp_path, 2).close_sync()
    path = only_segment(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[6] ^= 0x40  # the frame's length: without its own checksum it would look torn
    path.write_bytes(bytes(damaged))
    with pytest.raises(LogCorruptedError, match="byte 0"):
        await values(tmp_path)
    with pytest.raises(LogCorruptedError, match="byte 0"):
        write(tmp_path, 1)


async def test_segments_roll_and_a_follower_walks_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_log, "SEGMENT_BYTES_MAX", 200)
    writer = EmbeddedLogWriter(tmp_path)
    follower = EmbeddedLogSource(tmp_path, [TOPIC])
    seen: list[bytes] = []
    for i in range(40):
        writer.append_many_sync(TOPIC, entries(3, first=3 * i))
        seen += [r.value for r in await follower.poll(2, 0.0)]
    while records := await follower.poll(1000, 0.0):
        seen += [r.value for r in records]
    assert seen == [e[1] for e in entries(120)]
    assert len(list((tmp_path / TOPIC / "000").glob("*.log"))) > 5
    follower.seek(TOPIC, 0, 61)
    assert (await follower.poll(1, 0.0))[0].value == b"value 000061"


WRITER = """
import sys
from pathlib import Path
from service_kit.embedded_log import EmbeddedLogWriter
writer = EmbeddedLogWriter(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    value = f"{sys.argv[2]} {i}".encode()
    writer.append_many_sync("posts", [(b"k", value, i), (b"k", value + b"b", i)])
"""


def start_writers(directory: Path, count: int) -> list[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-c", WRITER, str(directory)]
    return [subprocess.Popen([*arguments, name, str(count)]) for name in "xyz"]


async def test_processes_that_append_together_lose_and_mix_nothing(tmp_path: Path) -> None:
    count = 300
    writers = start_writers(tmp_path, count)
    source = EmbeddedLogSource(tmp_path, [TOPIC])
    records = []
    while len(records) < 6 * count:
        taken = await source.poll(500, 60.0)  # follows while they write
        assert taken, f"{len(records)} of {6 * count} came"
        records += taken
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    assert [r.offset for r in records] == list(range(6 * count))
    for name in (b"x", b"y", b"z"):
        mine = [r.value for r in records if r.value.startswith(name)]
        expected = [b"%s %d%s" % (name, i, end) for i in range(count) for end in (b"", b"b")]
        assert mine == expected


def test_topics_that_are_no_directory_names_are_refused(tmp_path: Path) -> None:
    for topic in ("", "../x", "a/b", "groups", ".hidden"):
        with pytest.raises(ValueError, match="topic"):
            EmbeddedLogWriter(tmp_path).append_many_sync(topic, entries(1))
        with pytest.raises(ValueError, match="topic"):
            EmbeddedLogSource(tmp_path, [topic])


async def test_bad_calls_say_what_was_expected(tmp_path: Path) -> None:
    source = EmbeddedLogSource(tmp_path, [TOPIC])
    with pytest.raises(ValueError, match="at least 1"):
        await source.poll(0, 0.0)
    with pytest.raises(ValueError, match="not followed"):
        source.seek("other", 0, 0)
    with pytest.raises(ValueError, match="0 or more"):
        source.seek(TOPIC, 0, -1)
    with pytest.raises(ValueError, match="group"):
        EmbeddedLogSource(tmp_path, [TOPIC], start="committed")
    with pytest.raises(ValueError, match="1 to 1000"):
        EmbeddedLogWriter(tmp_path, partitions={TOPIC: 0})


def test_commits_of_one_group_keep_each_others_partitions(tmp_path: Path) -> None:
    one, two = log_groups.GroupOffsets(tmp_path, "g"), log_groups.GroupOffsets(tmp_path, "g")
    one.store({("a", 0): 5})
    two.store({("a", 1): 7})
    assert one.load() == {("a", 0): 5, ("a", 1): 7}
    (tmp_path / "g.json").write_text("{")
    with pytest.raises(ValueError, match=r"g\.json.*remove the file"):
        one.load()
