"""What a container's health check runs must tell a service that serves from one that does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from foryou.cli import run

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Server:
    """A gRPC server that answers health checks and nothing else."""

    def __init__(self) -> None:
        self.servicer = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(2))
        health_pb2_grpc.add_HealthServicer_to_server(self.servicer, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def test_a_serving_process_is_healthy(server, capsys):
    server.servicer.set("", SERVING)
    assert run(["health", server.address]) == 0
    assert "SERVING" in capsys.readouterr().out


def test_a_process_that_does_not_serve_is_unhealthy_and_says_where_to_look(server, capsys):
    """A container that is up but behind must not be given traffic."""
    server.servicer.set("", NOT_SERVING)
    assert run(["health", server.address]) == 1
    said = capsys.readouterr()
    assert "NOT_SERVING" in said.err
    assert "/readyz" in said.err
    assert said.out == ""


def test_an_image_may_give_the_address_by_its_environment(server, monkeypatch):
    """A Dockerfile's HEALTHCHECK is one command for every service."""
    server.servicer.set("", SERVING)
    monkeypatch.setenv("FORYOU_HEALTH_ADDRESS", server.address)
    assert run(["health"]) == 0


def test_alive_asks_for_an_answer_only(server):
    """A phoenix without models is up: it waits for the training that its health would block."""
    server.servicer.set("", NOT_SERVING)
    assert run(["health", server.address, "--alive"]) == 0


def test_one_service_of_a_process_is_asked_by_name(server):
    server.servicer.set("", NOT_SERVING)
    server.servicer.set("a.Ready", SERVING)
    server.servicer.set("a.Waiting", NOT_SERVING)
    assert run(["health", server.address, "--service", "a.Ready"]) == 0
    assert run(["health", server.address, "--service", "a.Waiting"]) == 1


def test_an_unknown_service_is_named(server, capsys):
    assert run(["health", server.address, "--service", "a.Typo"]) == 1
    assert "'a.Typo'" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--alive"]])
def test_nobody_there_is_unhealthy_within_the_time(flags, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert run(["health", address, "--timeout-seconds", "1", *flags]) == 1
    said = capsys.readouterr()
    assert address in said.err
    assert "Traceback" not in said.err


def test_an_address_without_a_port_is_wrong_usage(capsys):
    assert run(["health", "home-mixer"]) == 2
    assert "host:port" in capsys.readouterr().err
