"""A service as a real process: it announces itself, answers, drains on a signal and exits 0."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos import thunder_pb2, thunder_pb2_grpc

pytestmark = pytest.mark.e2e

SERVER = """
import asyncio, sys, time
from protos import thunder_pb2, thunder_pb2_grpc
from pydantic_settings import SettingsConfigDict
from service_kit.drain import CutError
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server
from service_kit.settings import ServiceSettings, exit_code_of

NAME = "foryou.thunder.v1.InNetworkPostsService"

class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KIT__")

class Servicer(thunder_pb2_grpc.InNetworkPostsServiceServicer):
    async def GetInNetworkPosts(self, request, context):
        seconds = {"slow": 0.3, "endless": 600}.get(request.algorithm)
        if seconds:
            print(f"{request.algorithm} call runs", flush=True)
            await asyncio.sleep(seconds)
        return thunder_pb2.GetInNetworkPostsResponse(authors_scanned=request.max_results)

def register(server):
    thunder_pb2_grpc.add_InNetworkPostsServiceServicer_to_server(Servicer(), server)
    return [NAME]

async def drained():
    print("drained", flush=True)
    if "blocks" in sys.argv:
        time.sleep(600)
    if "waits" in sys.argv:
        await asyncio.sleep(600)
    if "loses" in sys.argv:
        raise CutError("two events were not acknowledged")

async def fails():
    raise RuntimeError("no model")

async def compiles():
    print("compiling", flush=True)
    await asyncio.to_thread(time.sleep, 600)

async def no_disk():
    raise PermissionError(13, "Permission denied", "/data/features")

def main(settings):
    starts = {"fails": fails, "no-disk": no_disk, "compiles": compiles}
    hooks = {"on_start": starts[name] for name in sys.argv[1:] if name in starts}
    return asyncio.run(run_server(
        settings, name="kit", register=register, readiness=Readiness(), metrics=Metrics("kit"),
        on_drain=drained, **hooks))

sys.exit(exit_code_of(Settings.load, main))
"""


EARLY = """
import time
from service_kit.signals import leave_on_signals
leave_on_signals()
print("importing", flush=True)
time.sleep(600)
"""


def start(*arguments: str, code: str = SERVER, **environment: str) -> subprocess.Popen[str]:
    quick = {"KIT__LOG_LEVEL": "ERROR", "KIT__LAME_DUCK_SECONDS": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **quick, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Rest of its output; a process that will not end is killed and fails the test."""
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = start()
    assert process.stdout is not None
    yield process, json.loads(process.stdout.readline())
    if process.poll() is None:
        process.terminate()
    finish(process)


def health(channel: grpc.Channel, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status)


def get(address: str, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def call(channel: grpc.Channel) -> Any:
    return thunder_pb2_grpc.InNetworkPostsServiceStub(channel).GetInNetworkPosts


def test_it_answers_health_reflection_gzip_metrics_and_readiness(server: Any) -> None:
    _, line = server
    assert line["service"] == "kit"
    with grpc.insecure_channel(line["grpc_address"]) as channel:
        serving = health_pb2.HealthCheckResponse.SERVING
        assert health(channel, "") == serving
        assert health(channel, "foryou.thunder.v1.InNetworkPostsService") == serving
        request = thunder_pb2.GetInNetworkPostsRequest(
            max_results=7, following_user_ids=range(1, 5000)
        )
        answer = call(channel)(request, timeout=10, compression=grpc.Compression.Gzip)
        assert answer.authors_scanned == 7
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (listed,) = list(stub.ServerReflectionInfo(iter([asked]), timeout=10))
        names = {s.name for s in listed.list_services_response.service}
        assert {"foryou.thunder.v1.InNetworkPostsService", "grpc.health.v1.Health"} <= names
    status = line["metrics_address"]
    assert get(status, "/readyz") == (200, b'{"serving": true, "reason": ""}\n')
    assert get(status, "/healthz")[0] == 200
    assert get(status, "/metrics")[0] == 200
    assert get(status, "/elsewhere")[0] == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_call_finish_then_exits_zero(server: Any, number: int) -> None:
    """A second one, as of an impatient operator, changes nothing."""
    process, line = server
    with grpc.insecure_channel(line["grpc_address"]) as channel:
        slow = thunder_pb2.GetInNetworkPostsRequest(algorithm="slow", max_results=3)
        future = call(channel).future(slow, timeout=30)
        assert process.stdout.readline() == "slow call runs\n"
        process.send_signal(number)
        process.send_signal(number)
        assert future.result().authors_scanned == 3
    out, _ = finish(process)
    assert process.returncode == 0
    assert "drained" in out


def watch(channel: grpc.Channel) -> Any:
    """A health watch that the test, unlike gRPC's own, never closes."""
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=""))


def test_a_lame_duck_says_not_serving_and_still_answers() -> None:
    """Load balancers that look away late lose no request."""
    process = start(KIT__LAME_DUCK_SECONDS="4", KIT__DRAIN_SECONDS="30")
    address = json.loads(process.stdout.readline())["grpc_address"]
    with grpc.insecure_channel(address) as channel:
        states = watch(channel)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        request = thunder_pb2.GetInNetworkPostsRequest(max_results=5)
        assert call(channel)(request, timeout=3).authors_scanned == 5
    finish(process)
    assert process.returncode == 0


def test_a_health_watch_held_open_does_not_hold_up_the_end() -> None:
    process = start(KIT__DRAIN_SECONDS="120")
    address = json.loads(process.stdout.readline())["grpc_address"]
    with grpc.insecure_channel(address) as channel:
        next(watch(channel))
        process.send_signal(signal.SIGTERM)
        finish(process)  # kills it, and fails, long before the drain's 120 seconds
    assert process.returncode == 0


def test_a_call_that_outlasts_the_drain_is_cut_and_the_exit_code_says_so() -> None:
    process = start(KIT__DRAIN_SECONDS="1")
    address = json.loads(process.stdout.readline())["grpc_address"]
    with grpc.insecure_channel(address) as channel:
        endless = thunder_pb2.GetInNetworkPostsRequest(algorithm="endless")
        future = call(channel).future(endless, timeout=60)
        assert process.stdout.readline() == "endless call runs\n"
        process.send_signal(signal.SIGTERM)
        assert future.code() == grpc.StatusCode.UNAVAILABLE
    out, err = finish(process)
    assert process.returncode == 1
    assert "drained" in out
    assert "cut off by the drain's end" in err
    assert '"what": "calls", "count": 1' in err


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("waits", '"what": "flush"'),
        ("loses", "two events were not acknowledged"),
        ("blocks", "in drained"),  # the stack of what hangs
    ],
)
def test_an_unfinished_flush_ends_in_time_with_one(end: str, said: str) -> None:
    process = start(end, KIT__DRAIN_SECONDS="1")
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = finish(process)
    assert process.returncode == 1
    assert said in err


def test_a_start_is_interrupted_at_once_though_a_thread_of_it_cannot_be() -> None:
    """A pod that is taken away while it compiles its models must not wait for the compiler."""
    process = start("compiles")
    process.stdout.readline()
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.SIGTERM)
    out, _ = finish(process)
    assert process.returncode == 0
    assert "drained" in out


def test_a_signal_among_the_imports_is_heard() -> None:
    """As process 1 of a container Python would ignore it."""
    process = start(code=EARLY)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGTERM)
    finish(process)
    assert process.returncode == 0


def test_bad_settings_exit_two_and_say_which() -> None:
    process = start(KIT__GRPC_PORT="seventy")
    _, err = finish(process)
    assert process.returncode == 2
    assert "KIT__GRPC_PORT" in err
    assert "Traceback" not in err


def test_a_taken_port_exits_one_and_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(KIT__GRPC_PORT=str(taken.getsockname()[1]))
        _, err = finish(process)
    assert process.returncode == 1
    assert "is it taken?" in err


def test_a_start_that_fails_ends_the_process_with_one() -> None:
    process = start("fails")
    _, err = finish(process)
    assert process.returncode == 1
    assert "no model" in err


def test_a_data_directory_out_of_reach_is_one_line_and_no_traceback() -> None:
    process = start("no-disk")
    _, err = finish(process)
    assert process.returncode == 1
    assert "kit cannot start: [Errno 13] Permission denied: '/data/features'" in err
    assert "Traceback" not in err
