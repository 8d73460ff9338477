"""thunder as users run it: a real process on a real log, over gRPC, through crash and restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos import events_pb2, thunder_pb2, thunder_pb2_grpc
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.event_log import TOPIC_POSTS, event_key

pytestmark = pytest.mark.e2e
SERVICE = "foryou.thunder.v1.InNetworkPostsService"
START_S_MAX = 120  # kernels are compiled at the first start on a machine


class Process:
    def __init__(self, data_dir: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "thunder.server"],
            env={
                **os.environ,
                "THUNDER__DATA_DIR": str(data_dir),
                "THUNDER__GRPC_PORT": "0",
                "THUNDER__LOG_LEVEL": "ERROR",
                "THUNDER__POSTS_MAX": "100000",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.channel: grpc.Channel | None = None

    def listening(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.channel = grpc.insecure_channel(line["grpc_address"])
        return line

    def serving(self) -> None:
        """Returns once health says SERVING."""
        watch = health_pb2_grpc.HealthStub(self.channel).Watch(
            health_pb2.HealthCheckRequest(service=SERVICE), timeout=START_S_MAX
        )
        for answer in watch:
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                watch.cancel()
                return

    def ask(self, *following: int, **fields: Any) -> bytes:
        stub: Any = thunder_pb2_grpc.InNetworkPostsServiceStub(self.channel)
        request = thunder_pb2.GetInNetworkPostsRequest(
            user_id=999, following_user_ids=following, **fields
        )
        answer = stub.GetInNetworkPosts(request, timeout=20)
        assert not answer.partial
        return bytes(answer.SerializeToString(deterministic=True))

    def signal(self, number: int) -> tuple[int, str]:
        """Exit code and standard error after the signal."""
        if self.channel is not None:
            self.channel.close()
        self._process.send_signal(number)
        return self.finish()

    def finish(self) -> tuple[int, str]:
        try:
            _, err = self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        return self._process.returncode, err

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Process] = []

    def run(**environment: str) -> Process:
        started.append(Process(tmp_path, **environment))
        return started[-1]

    yield run
    for process in started:
        process.end()


def write(directory: Path, *events: events_pb2.PostEvent | bytes) -> None:
    writer = EmbeddedLogWriter(directory / "log", partitions={TOPIC_POSTS: 2})
    entries = [
        (event_key(i), e if isinstance(e, bytes) else e.SerializeToString(), 0)
        for i, e in enumerate(events)
    ]
    writer.append_many_sync(TOPIC_POSTS, entries)
    writer.close_sync()


def create(post_id: int, author: int, age_ms: int, **fields: Any) -> events_pb2.PostEvent:
    at_ms = int(time.time() * 1000) - age_ms
    return events_pb2.PostEvent(
        create=events_pb2.PostCreate(
            post_id=post_id, author_id=author, created_at_ms=at_ms, **fields
        )
    )


def a_small_world() -> list[events_pb2.PostEvent | bytes]:
    """Originals, replies, reposts, deletes before and after, an undelete, poison."""
    now_ms = int(time.time() * 1000)
    events: list[events_pb2.PostEvent | bytes] = []
    for i in range(1, 2001):
        links = {"in_reply_to_post_id": i - 1} if i % 5 == 0 else {}
        if i % 7 == 0:
            links = {"reposted_post_id": i - 3, "reposted_user_id": (i - 3) % 40 + 1}
        events.append(create(i, i % 40 + 1, age_ms=10_000_000 - i, **links))
        if i % 11 == 0:
            delete = events_pb2.PostDelete(post_id=i // 2, deleted_at_ms=now_ms - 5000)
            events.append(events_pb2.PostEvent(delete=delete))
        if i % 33 == 0:
            undelete = events_pb2.PostUndelete(post_id=i // 2, undeleted_at_ms=now_ms - 4000)
            events.append(events_pb2.PostEvent(undelete=undelete))
    return [*events, b"\xffpoison"]


def answers(process: Process) -> list[bytes]:
    everyone = range(1, 41)
    return [
        process.ask(*everyone, max_results=5000),
        process.ask(*everyone, is_video_request=True),
        process.ask(3, 5, 8, exclude_post_ids=range(1, 500)),
    ]


def test_a_killed_thunder_comes_back_to_the_same_state(start: Any, tmp_path: Path) -> None:
    write(tmp_path, *a_small_world())
    first = start()
    first.listening()
    first.serving()
    before = answers(first)
    assert len(before[0]) > 10_000, "the answers are about something"
    assert first.signal(signal.SIGKILL)[0] == -signal.SIGKILL
    second = start()
    line = second.listening()
    second.serving()
    assert answers(second) == before
    with urllib.request.urlopen(f"http://{line['metrics_address']}/metrics", timeout=10) as page:
        metrics = page.read().decode()
    assert 'foryou_thunder_consumer_poison_total{topic="foryou.posts"} 1.0' in metrics
    write(tmp_path, create(5000, 3, age_ms=0))
    while b"\x08\x88\x27" not in second.ask(3, max_results=1):  # post_id 5000 on the wire
        assert second._process.poll() is None
    assert second.signal(signal.SIGTERM) == (0, "")


def test_an_empty_store_serves_an_empty_answer(start: Any) -> None:
    process = start()
    process.listening()
    process.serving()
    empty = thunder_pb2.GetInNetworkPostsResponse.FromString(process.ask(1, 2))
    assert (list(empty.posts), empty.authors_scanned) == ([], 2)
    assert process.signal(signal.SIGINT) == (0, "")


def test_a_damaged_log_keeps_it_not_serving_and_says_where(start: Any, tmp_path: Path) -> None:
    write(tmp_path, create(1, 1, 0), create(2, 1, 0))
    for path in (tmp_path / "log" / TOPIC_POSTS).glob("*/*.log"):
        damaged = bytearray(path.read_bytes())
        damaged[-1] ^= 1
        path.write_bytes(bytes(damaged))
    process = start()
    line = process.listening()
    reason = ""
    until_s = time.monotonic() + START_S_MAX
    while "byte 0" not in reason:
        assert time.monotonic() < until_s, reason
        with pytest.raises(urllib.error.HTTPError) as not_ready:
            urllib.request.urlopen(f"http://{line['metrics_address']}/readyz", timeout=10)
        with not_ready.value as page:
            assert page.code == 503
            reason = json.load(page)["reason"]
    assert "do not match their CRC-32" in reason
    with pytest.raises(grpc.RpcError) as refused:
        process.ask(1)
    assert "byte 0" in str(refused.value)
    assert process.signal(signal.SIGTERM)[0] == 0


def test_bad_settings_exit_two_with_the_field(start: Any) -> None:
    code, err = start(THUNDER__POSTS_MAX="0").finish()
    assert code == 2
    assert "THUNDER__POSTS_MAX" in err
    assert "greater than or equal to 1" in err
