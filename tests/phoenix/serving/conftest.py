"""Small real checkpoints, service parts with manual time, and a real phoenix process."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import grpc
import jax
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from phoenix import checkpoint
from phoenix.config import ranker_preset, retrieval_preset
from phoenix.ranker import Ranker
from phoenix.retrieval import RetrievalModel
from phoenix.serving.buckets import Shapes
from phoenix.serving.loading import load_served_ranker, load_served_retrieval
from phoenix.serving.telemetry import Telemetry
from phoenix.serving.worker import ModelWorker
from protos import phoenix_pb2 as pb
from service_kit.clock import ManualClock
from service_kit.metrics import Metrics
from service_kit.snowflake import first_id_at

START_SECONDS_MAX = 120  # two processes of the suite may compile at once on a small machine
SHAPES = Shapes(candidate_buckets=(16, 64), merged_viewers=4, post_buckets=(8, 64))
SERVE = (
    "import sys; from phoenix.server import main; from phoenix.settings import PhoenixSettings; "
    "sys.exit(main(PhoenixSettings.load()))"
)


def speaking(shapes, seed):
    """Parameters of the given shapes with which every part of the model speaks.

    Drawn here, for tracing the models' own initialisation costs seconds of compilation.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        centre = 1.0 if "norm" in jax.tree_util.keystr(path) else 0.0
        return (centre + rng.normal(0, 0.25, leaf.shape)).astype(np.float32)

    drawn = jax.tree_util.tree_map_with_path(draw, shapes)
    for table in drawn["tables"].values():
        table[0] = 0.0  # padding stays silent
    return drawn


class Checkpoints:
    """Writes versions of small models."""

    def __init__(self):
        self.ranker_config, self.retrieval_config = ranker_preset("nano"), retrieval_preset("nano")
        self._ranker = jax.eval_shape(lambda: Ranker(self.ranker_config).init(0))
        self._retrieval = jax.eval_shape(lambda: RetrievalModel(self.retrieval_config).init(0))

    def ranker_params(self, seed):
        return speaking(self._ranker, seed)

    def retrieval_params(self, seed):
        return speaking(self._retrieval, seed)

    def save_ranker(self, directory, seed=1, params=None):
        params = params or self.ranker_params(seed)
        return checkpoint.save(
            directory, step=seed, config=self.ranker_config, params=params, meta={}
        )

    def save_retrieval(self, directory, seed=1, params=None):
        params = params or self.retrieval_params(seed)
        return checkpoint.save(
            directory, step=seed, config=self.retrieval_config, params=params, meta={}
        )


@pytest.fixture(scope="session")
def checkpoints():
    return Checkpoints()


@pytest.fixture(scope="session")
def shapes():
    return SHAPES


@pytest.fixture(scope="session")
def ranker(checkpoints, tmp_path_factory):
    path = checkpoints.save_ranker(tmp_path_factory.mktemp("ranker"))
    return load_served_ranker(path, SHAPES, None)


@pytest.fixture(scope="session")
def retrieval(checkpoints, tmp_path_factory):
    path = checkpoints.save_retrieval(tmp_path_factory.mktemp("retrieval"))
    return load_served_retrieval(path, SHAPES, None)


@pytest.fixture(scope="session")
def other_retrieval(checkpoints, retrieval):
    params = jax.device_put(checkpoints.retrieval_params(2))
    return replace(retrieval, version="other", params=params)


@pytest.fixture
def metrics():
    return Metrics("phoenix")


@pytest.fixture
def telemetry(metrics):
    return Telemetry.of(metrics)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def worker():
    worker = ModelWorker()
    yield worker
    worker.close()


class Requests:
    """Requests with a history, all functions of a viewer and a seed."""

    def __init__(self, now_ms):
        self.now_ms = now_ms

    def sequence(self, viewer_id, events=12):
        rng = np.random.default_rng([viewer_id, events])
        actions = [
            pb.AggregatedAction(
                post_id=self.post_id(int(rng.integers(1, 500))),
                author_id=int(rng.integers(1, 60)),
                acted_at_ms=self.now_ms - (events - at) * 97_000,
                actions=sorted(set(rng.integers(1, 26, 3).tolist())),
                dwell_seconds=float(rng.exponential(9)),
                product_surface=1,
            )
            for at in range(events)
        ]
        return pb.UserActionSequence(user_id=viewer_id, actions=actions)

    def post_id(self, number):
        return first_id_at(self.now_ms - number * 61_000) + number

    def candidates(self, numbers):
        return [pb.CandidatePost(post_id=self.post_id(n), author_id=1 + n % 59) for n in numbers]

    def prediction(self, viewer_id, numbers, **changes):
        fields = {
            "request_id": f"test-{viewer_id}",
            "sequence": self.sequence(viewer_id),
            "candidates": self.candidates(numbers),
            "product_surface": 1,
            "now_ms": self.now_ms,
        }
        return pb.PredictNextActionsRequest(**(fields | changes))


@pytest.fixture(scope="session")
def requests():
    return Requests(now_ms=1_795_000_000_000)


class PhoenixProcess:
    """A running `phoenix.server` with its addresses."""

    def __init__(self, process, line, data_dir):
        self._process = process
        self.data_dir = data_dir
        self.address, self.metrics_address = line["grpc_address"], line["metrics_address"]

    def wait_health(self, service, wanted):
        """Watches grpc.health.v1 until `service` has the status `wanted`."""
        with grpc.insecure_channel(self.address) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=START_SECONDS_MAX)
            for answer in watch:
                if health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == wanted:
                    watch.cancel()
                    return

    def wait_until(self, is_true):
        """Scrapes until `is_true(metrics)`; `metrics` maps sample names to values."""
        for _ in range(20_000):
            samples = self.metrics()
            if is_true(samples):
                return samples
        raise AssertionError(f"never true; the last scrape said {samples}")

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def stop(self):
        """SIGTERM; the exit code and everything that was logged."""
        self._process.terminate()
        self._process.communicate(timeout=START_SECONDS_MAX)
        return self._process.returncode, (self.data_dir / "stderr").read_text()


@pytest.fixture(scope="session")
def compiled_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("jax")


@pytest.fixture(scope="module")
def start_phoenix(tmp_path_factory, compiled_dir):
    running = []

    def start(data_dir: Path, **settings):
        environment = {
            **{name: value for name, value in os.environ.items() if "__" not in name},
            "PHOENIX__DATA_DIR": str(data_dir),
            "PHOENIX__GRPC_PORT": "0",
            "PHOENIX__COMPILATION_CACHE_DIR": str(compiled_dir),
            "PHOENIX__RELOAD_POLL_SECONDS": "0.05",
            "PHOENIX__AGE_OUT_INTERVAL_SECONDS": "0.2",
            "PHOENIX__CANDIDATE_BUCKETS": "[16, 64]",
            "PHOENIX__CANARY_INTERVAL_SECONDS": "0",
            **{f"PHOENIX__{name.upper()}": str(value) for name, value in settings.items()},
        }
        with (data_dir / "stderr").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        running.append(process)
        line = process.stdout.readline()
        assert line, (data_dir / "stderr").read_text()
        return PhoenixProcess(process, json.loads(line), data_dir)

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def run_for():
    """Runs a coroutine while background coroutines work, then ends those."""

    async def run(coroutine, *background):
        tasks = [asyncio.create_task(one) for one in background]
        try:
            return await asyncio.wait_for(coroutine, START_SECONDS_MAX)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return run
