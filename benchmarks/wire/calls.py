"""Servers in processes of their own on one core, and load on them in turns from another."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.store.workload import NOW_MS, World
from benchmarks.wire.http2_load import ask_all, run_load
from benchmarks.wire.server import FIXED, METHOD, THUNDER
from protos import thunder_pb2

Response = thunder_pb2.GetInNetworkPostsResponse
ROOT = Path(__file__).parent.parent.parent
ONE_CORE_NOTE = "one core only: server and load share it, so calls a second are of both together"
STDERR_TAIL = 2_000
# Not -m: the package imports the server's module, and Python warns of running it twice.
START = "import sys; from benchmarks.wire.server import main; sys.exit(main())"


@dataclass
class Measured:
    """Of one server: calls a second in each round, seconds of calls at once and alone."""

    rates: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


@dataclass(frozen=True)
class Server:
    """``answers``: what it gave for each request; a load checks every answer against them."""

    port: int
    answers: Mapping[bytes, bytes]

    def check(self, request: bytes, answer: bytes) -> None:
        if answer != self.answers[request]:
            raise AssertionError("an answer under load differs from the one before")


@contextmanager
def servers(
    kinds: Sequence[str], world: World, requests: Sequence[bytes]
) -> Iterator[dict[str, Server]]:
    """Starts them, one after another, and compares their answers; ends them at the end.

    AssertionError where one answers differently than thunder does.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _save(world, directory)
        started: dict[str, Server] = {}
        for kind in [THUNDER, *(kind for kind in kinds if kind != THUNDER)]:
            port = stack.enter_context(_running(kind, directory))
            answers = dict(zip(requests, ask_all(port, METHOD, requests), strict=True))
            started[kind] = Server(port, answers)
            if kind == THUNDER:
                (directory / "answer.bin").write_bytes(max(answers.values(), key=len))
            elif kind != FIXED:
                check_same_answers(kind, started[THUNDER].answers, answers)
        yield started


def check_same_answers(
    kind: str, ours: Mapping[bytes, bytes], theirs: Mapping[bytes, bytes]
) -> None:
    """AssertionError unless both say the same, post by post, to every request."""
    for i, (request, answer) in enumerate(ours.items()):
        if Response.FromString(answer) != Response.FromString(theirs[request]):
            raise AssertionError(f"{kind} answers request {i} differently than thunder does")


def measure_calls(
    started: Mapping[str, Server], rounds: int, seconds: float, in_flight: int
) -> dict[str, Measured]:
    """Each round puts load on every server in turn: many in flight, then one."""
    measured = {kind: Measured() for kind in started}
    with _on_load_core():
        for turn in range(-1, rounds):  # the first one warms up
            for kind, server in started.items():
                at_once = _load(server, in_flight, seconds)
                alone = _load(server, 1, seconds / 2)
                if turn >= 0:
                    measured[kind].rates.append(len(at_once) / seconds)
                    measured[kind].latencies_s += at_once
                    measured[kind].alone_s += alone
    return measured


def notes() -> list[str]:
    return [] if len(_cores()) > 1 else [ONE_CORE_NOTE]


def _load(server: Server, in_flight: int, seconds: float) -> list[float]:
    requests = list(server.answers)
    return run_load(
        server.port, METHOD, requests, in_flight=in_flight, seconds=seconds, check=server.check
    )


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


@contextmanager
def _on_load_core() -> Iterator[None]:
    """Keeps this process off the servers' core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def _running(kind: str, directory: Path) -> Iterator[int]:
    """The port of a server that is ready. RuntimeError with its last words where it is not."""
    command = [sys.executable, "-c", START, kind, str(directory)]
    command += ["--core", str(_cores()[0])]
    with tempfile.TemporaryFile("w+") as errors:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, text=True, cwd=ROOT
        )
        with process:  # closes the pipes and waits
            try:
                yield _port_of(kind, process, errors)
            finally:
                process.terminate()


def _port_of(kind: str, process: subprocess.Popen[str], errors: IO[str]) -> int:
    assert process.stdout is not None, "asked for above"
    said = [process.stdout.readline() for _ in range(2)]
    if not said[1]:
        process.wait()
        errors.seek(0)
        raise RuntimeError(f"{kind} did not start: {errors.read()[-STDERR_TAIL:]}")
    return int(json.loads(said[0])["grpc_address"].rpartition(":")[2])


def _save(world: World, directory: Path) -> None:
    np.save(directory / "posts.npy", world.posts)
    np.save(directory / "flags.npy", world.flags)
    np.save(directory / "dead.npy", world.dead)
    np.save(directory / "now_ms.npy", np.int64(NOW_MS))
