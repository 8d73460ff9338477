"""The real process: started, waited for, asked, and killed without a chance to write a snapshot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Self

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos import thunder_pb2, thunder_pb2_grpc
from service_kit.settings import ServiceSettings
from thunder.service import SERVICE_NAME
from thunder.store import PostStore, Query

VIEWER_ID = (1 << 63) + 1  # nobody of the world
RESULTS_MAX = 1_200
START_S_MAX = 300.0
CLI = "from foryou.cli import main; main()"


class Replica:
    """`foryou serve thunder --mode serving`, from `with` to the end of the block."""

    def __init__(self, settings: ServiceSettings, posts_max: int) -> None:
        self._environment = {
            "THUNDER__MODE": "serving",
            "THUNDER__DATA_DIR": str(settings.data_dir),
            "THUNDER__GRPC_PORT": "0",
            "THUNDER__POSTS_MAX": str(posts_max),
            "THUNDER__KAFKA_TOPIC_PREFIX": settings.kafka_topic_prefix,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        }

    def __enter__(self) -> Self:
        self._started_s = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLI, "serve", "thunder"],
            env={**os.environ, **self._environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(f"thunder ended with {self._process.wait()} before it listened")
        self._channel = grpc.insecure_channel(json.loads(line)["grpc_address"])
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.kill()
        self._process.communicate()  # closes its pipe

    def until_serving(self) -> float:
        """Seconds from exec to SERVING."""
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
        for answer in stub.Watch(request, timeout=START_S_MAX):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return time.perf_counter() - self._started_s
        raise ValueError(f"thunder did not serve within {START_S_MAX:.0f} s")

    def check(self, answers: dict[int, list[int]]) -> None:
        """ValueError where an answer is not the expected one."""
        stub: Any = thunder_pb2_grpc.InNetworkPostsServiceStub(self._channel)
        for author, expected in answers.items():
            request = thunder_pb2.GetInNetworkPostsRequest(
                user_id=VIEWER_ID, following_user_ids=[author], max_results=RESULTS_MAX
            )
            found = [post.post_id for post in stub.GetInNetworkPosts(request, timeout=20).posts]
            if found != expected:
                raise ValueError(
                    f"restarted, it answers {len(found)} posts of author {author} that are not "
                    f"the {len(expected)} of the store before"
                )


def answers_of(store: PostStore, authors: list[int]) -> dict[int, list[int]]:
    """By author the ids that a viewer who follows only that author is shown."""
    nobody = np.zeros(0, np.uint64)
    return {
        author: store.query(Query(VIEWER_ID, np.array([author], np.uint64), nobody, RESULTS_MAX))
        .posts["post_id"]
        .tolist()
        for author in authors
    }
