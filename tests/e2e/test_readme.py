"""The README's commands, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DEMO_SECONDS_MAX = 600
COMMAND_SECONDS_MAX = 180
# Commands that something else runs: what, and why not here.
ELSEWHERE = {
    "pip install uv": "the check script installs uv so",
    "uv run foryou demo": "the fixture below runs it once for all",
    "uv run pytest": "it is what runs this",
    "docker compose --profile demo up --build --detach": "tests/e2e/compose: all but Docker",
    "docker compose logs --follow demo": "the same test reads that container's output",
    "docker compose exec home-mixer foryou feed VIEWER": "and asks that container's service",
    "uv run foryou bench pipeline": "benchmarks are not tests; their own tests run it small",
}


def blocks(language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line and line not in ELSEWHERE]


@dataclass(frozen=True)
class Demo:
    """A serving demo: what a reader puts in place of VIEWER, ADDRESS and DATA_DIR."""

    viewer: str
    address: str
    data_dir: str

    def fill(self, text: str) -> str:
        text = text.replace("VIEWER", self.viewer).replace("ADDRESS", self.address)
        return text.replace("DATA_DIR", self.data_dir)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    process = subprocess.Popen(
        ["uv", "run", "foryou", "demo"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            printed = "".join(said)
            feed = re.search(r"foryou feed (\d+) --address (\S+)", printed)
            report = re.search(r"foryou report \S+ --data-dir (\S+)", printed)
            if feed and report:
                break
        else:
            pytest.fail("the demo ended before it served:\n" + "".join(said[-40:]))
        yield Demo(feed[1], feed[2], report[1])
    finally:
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=60)
        process.stdout.close()
    assert code == 0, f"the demo ended with {code} after Ctrl-C"


def test_every_command_that_the_readme_leaves_to_others_is_still_in_it() -> None:
    """A list of exceptions that names what is gone hides what is new."""
    lines = {line.strip() for block in blocks("bash") for line in block.splitlines()}
    assert set(ELSEWHERE) <= lines


@pytest.mark.parametrize("command", commands())
def test_command_of_the_readme_works(demo: Demo, command: str) -> None:
    """The first thing that a stranger does is to copy these."""
    run = subprocess.run(
        demo.fill(command),
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    assert run.stdout.strip()


def test_python_of_the_readme_gets_the_feed(demo: Demo) -> None:
    """The client is the product for who builds on the feed."""
    (block,) = blocks("python")
    run = subprocess.run(
        [sys.executable, "-c", demo.fill(block)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    lines = run.stdout.splitlines()
    assert len(lines) >= 2
    assert all("network" in line for line in lines[:-1])


def test_score_of_the_readme_is_the_one_its_weights_give() -> None:
    """0.5 · 0.1 + 0.004 · 12 + 0.001, in network."""
    (command,) = [c for c in commands() if c.endswith("foryou score")]
    run = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(run.stdout)["score"] == pytest.approx(0.099)
