"""The demo's quality is honest only if no model was trained on what it is judged by."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from foryou.demo import DemoOptions, _train
from foryou.local_services import LocalServices
from foryou.phases import Phases
from foryou.world import World


class RecordedChildren:
    """Notes what would be started; every child answers at once."""

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}
        self.environments: list[dict[str, str]] = []

    async def start(
        self, name: str, arguments: list[str], environment: dict[str, str]
    ) -> RecordedChildren:
        self.commands[name] = arguments
        self.environments.append(environment)
        return self

    async def finish(self, timeout_s: float) -> dict[str, Any]:
        return {}


async def test_both_trainings_stop_at_the_cutoff_and_start_from_nothing(world: World):
    options = DemoOptions(Path("demo"), seed=1, users=60, train_seconds=1.0, now_ms=0)
    children = RecordedChildren()
    phases = Phases(io.StringIO())
    services = LocalServices(options.data_dir, children, phases)  # type: ignore[arg-type]
    await _train(options, world, services, children, phases)  # type: ignore[arg-type]
    assert sorted(children.commands) == ["train-ranker", "train-retrieval"]
    for command in children.commands.values():
        at = command.index("--until-ms")
        assert command[at + 1] == str(world.config.cutoff_ms)
        # A model from elsewhere may have seen what the cutoff hides.
        assert not {"--start", "--parquet", "--log", "--resume"} & set(command)
    # Nor may it read a Kafka that this terminal happens to know: the demo wrote a directory.
    assert all(given["KAFKA_BOOTSTRAP_SERVERS"] == "" for given in children.environments)
