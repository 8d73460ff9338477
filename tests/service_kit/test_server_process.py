"""A service as a real process: it announces itself, answers, drains on SIGTERM and exits 0."""

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
import asyncio, sys
from protos import thunder_pb2, thunder_pb2_grpc
from pydantic_settings import SettingsConfigDict
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server
from service_kit.settings import ServiceSettings, exit_code_of

NAME = "foryou.thunder.v1.InNetworkPostsService"

class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KIT__")

class Servicer(thunder_pb2_grpc.InNetworkPostsServiceServicer):
    async def GetInNetworkPosts(self, request, context):
        if request.algorithm == "slow":
            print("slow call runs", flush=True)
            await asyncio.sleep(0.3)
        return thunder_pb2.GetInNetworkPostsResponse(authors_scanned=request.max_results)

def register(server):
    thunder_pb2_grpc.add_InNetworkPostsServiceServicer_to_server(Servicer(), server)
    return [NAME]

async def drained():
    print("drained", flush=True)

async def fails():
    raise RuntimeError("no model")

async def no_disk():
    raise PermissionError(13, "Permission denied", "/data/features")

def main(settings):
    starts = {"fails": fails, "no-disk": no_disk}
    hooks = {"on_start": starts[name] for name in sys.argv[1:]}
    return asyncio.run(run_server(
        settings, name="kit", register=register, readiness=Readiness(), metrics=Metrics("kit"),
        on_drain=drained, **hooks))

sys.exit(exit_code_of(Settings.load, main))
"""


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, *arguments],
        env={**os.environ, "KIT__LOG_LEVEL": "ERROR", **environment},
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


def test_sigterm_lets_a_running_call_finish_then_exits_zero(server: Any) -> None:
    process, line = server
    with grpc.insecure_channel(line["grpc_address"]) as channel:
        slow = thunder_pb2.GetInNetworkPostsRequest(algorithm="slow", max_results=3)
        future = call(channel).future(slow, timeout=30)
        assert process.stdout.readline() == "slow call runs\n"
        process.send_signal(signal.SIGTERM)
        assert future.result().authors_scanned == 3
    out, _ = finish(process)
    assert process.returncode == 0
    assert "drained" in out


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
