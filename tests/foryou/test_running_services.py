"""A demo on running services must not show a feed that services made before they knew its world."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from foryou import running_services
from foryou.cli import run
from foryou.errors import CommandError, UsageError
from foryou.phases import Phases
from foryou.running_services import Addresses, RunningServices, behind
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.event_log import TOPIC_POSTS

LAG = 'foryou_thunder_consumer_lag_records{{topic="foryou.posts",partition="{0}"}} {1}\n'
MEASURED = 'foryou_thunder_consumer_lag_measured_timestamp_seconds{{consumer="posts"}} {0}\n'
WRITTEN_S = 1_000.0


def page(lags: list[int], measured_s: float | None) -> str:
    lines = [LAG.format(partition, lag) for partition, lag in enumerate(lags)]
    return "".join(lines) + ("" if measured_s is None else MEASURED.format(measured_s))


def test_a_consumer_with_nothing_left_after_the_events_were_written_is_caught_up():
    assert behind(page([0, 0], WRITTEN_S + 1), WRITTEN_S) == ""


@pytest.mark.parametrize(
    ("lags", "measured_s", "why"),
    [
        ([0, 0], WRITTEN_S - 1, "not measured since"),  # 0 of what was there before
        ([0, 5], WRITTEN_S + 1, "5 events to go"),
        ([], None, "no consumer yet"),  # its Kafka was away at the start
    ],
)
def test_anything_else_is_not_and_says_why(lags, measured_s, why):
    assert why in behind(page(lags, measured_s), WRITTEN_S)


class Pages:
    """A metrics port whose page is made anew at each scrape."""

    def __init__(self, make: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(make().encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve_pages() -> Iterator[Callable[[Callable[[], str]], Pages]]:
    started: list[Pages] = []

    def start(make: Callable[[], str]) -> Pages:
        started.append(Pages(make))
        return started[-1]

    yield start
    for pages in started:
        pages.stop()


async def test_waiting_ends_when_the_last_event_is_handled(serve_pages, monkeypatch):
    monkeypatch.setattr(running_services, "POLL_SECONDS", 0.01)
    left = [3, 2, 0]
    pages = serve_pages(lambda: page([left.pop(0) if len(left) > 1 else left[0]], 2e12))
    await running_services._until_caught_up(pages.address, 0.0, float("inf"))
    assert left == [0]


async def test_a_service_that_stays_behind_is_named_with_what_is_left(serve_pages):
    pages = serve_pages(lambda: page([7], 2e12))
    loop_end_s = running_services.time.monotonic() + 0.1
    with pytest.raises(CommandError, match=f"{pages.address} did not catch up.*7 events to go"):
        await running_services._until_caught_up(pages.address, 0.0, loop_end_s)


async def test_topics_that_hold_events_are_refused(tmp_path, monkeypatch):
    """Two worlds in one log would each be judged by the truth of one."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    services = RunningServices(tmp_path, Addresses("a:1", "b:2", ["c:3"]), Phases(io.StringIO()))
    await services.prepare()
    writer = EmbeddedLogWriter(tmp_path / "log")
    await writer.append(TOPIC_POSTS, b"12345678", b"x", 1)
    await writer.close()
    with pytest.raises(UsageError, match="1 events already"):
        await services.prepare()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--metrics-addresses", "a:1"], "--data-dir"),
        (["--data-dir", "somewhere"], "--metrics-addresses"),
        (["--data-dir", "somewhere", "--metrics-addresses", "a"], "--metrics-addresses"),
    ],
    ids=["no directory", "no metrics", "no port"],
)
def test_what_a_running_suite_needs_to_be_told_is_named(flags, named, capsys):
    assert run(["demo", "--running", *flags]) == 2
    assert named in capsys.readouterr().err
