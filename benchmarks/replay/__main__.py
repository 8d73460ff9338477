"""The replay as a command: exit code 0 where nothing was lost, 1 where something was.

python -m benchmarks.replay --events 200000 --data higgs-activity_time.txt.gz --seed 1
python -m benchmarks.replay --events 8000 --log embedded --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.replay.chaos import BROKER, REDIS
from benchmarks.replay.derive import derive
from benchmarks.replay.interactions import read_higgs, synthetic
from benchmarks.replay.run import Faults, Run, viewers_of
from benchmarks.replay.services import Deployment
from benchmarks.replay.stream import make_stream
from service_kit.clock import SystemClock

TESTS = Path(__file__).resolve().parents[2] / "tests"  # holds `real_parts`, the Kafka of the tests
INTERACTIONS_AN_EVENT = 1.6  # that the synthetic world must have, generously
SETTLED_MS = 60_000  # the newest event is so old: no clock calls it future


def main() -> int:
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)8d %(message)s")
    with ExitStack() as stack:
        directory = options.directory
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="replay-")))
        report = asyncio.run(_run_of(options, directory, stack)())
    print(json.dumps(report.to_json()) if options.json else report.table())
    return 1 if report.differences else 0


def _run_of(options: argparse.Namespace, directory: Path, stack: ExitStack) -> Run:
    rows = (
        read_higgs(options.data)
        if options.data
        else synthetic(int(options.events * INTERACTIONS_AN_EVENT), options.seed)
    )
    end_ms = SystemClock().now_ms() - SETTLED_MS
    replay = derive(rows, events=options.events, seed=options.seed, end_ms=end_ms)
    deployment, servers = Deployment(directory), {}
    if options.log == "kafka":
        sys.path.append(str(TESTS))
        from real_parts.kafka import KafkaCluster
        from real_parts.redis import RedisServer

        cluster = stack.enter_context(KafkaCluster(directory / "kafka"))
        redis = stack.enter_context(RedisServer(directory / "redis"))
        servers = {BROKER: cluster.brokers[0], REDIS: redis}
        deployment = Deployment(
            directory,
            kafka=cluster.bootstrap_servers,
            redis_url=redis.url,
            replicas=options.replicas,
            shares=options.shares,
        )
    return Run(
        deployment,
        replay,
        make_stream(replay, options.seed),
        Faults(options.seed, options.kills, options.broker_restarts, options.redis_losses),
        options.seconds,
        viewers_of(replay, options.viewers, options.seed),
        servers,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000, help="creates, deletes, …")
    parser.add_argument("--data", type=Path, help="higgs-activity_time.txt.gz; none: synthetic")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--seconds", type=float, default=120.0, help="of production")
    parser.add_argument("--kills", type=int, default=3, help="of each consumer")
    parser.add_argument("--broker-restarts", type=int, default=3, help="killed, stopped, …")
    parser.add_argument("--redis-losses", type=int, default=1, help="killed, comes back empty")
    parser.add_argument("--replicas", type=int, default=2, help="of thunder")
    parser.add_argument("--shares", type=int, default=1, help="of thunder's authors")
    parser.add_argument("--viewers", type=int, default=300, help="whose answers are compared")
    parser.add_argument("--directory", type=Path, help="keeps data and logs; none: temporary")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
