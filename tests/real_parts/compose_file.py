"""docker-compose.yml and the Dockerfile as data, read without Docker.

Only what these two files use is understood: `${NAME:-default}`, merged anchors, lists for commands,
maps for environments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
VARIABLE = re.compile(r"\$\{(\w+)(:-([^}]*))?\}")
OWN_IMAGE = "foryou:local"
SECONDS = re.compile(r"(\d+)s")


@dataclass(frozen=True)
class Container:
    """One service of the file; `raw` is all of it, with the variables filled in."""

    name: str
    raw: Mapping[str, Any]

    @property
    def own(self) -> bool:
        """Runs our image."""
        return bool(self.raw["image"] == OWN_IMAGE)

    @property
    def command(self) -> list[str]:
        return [str(word) for word in self.raw.get("command", [])]

    @property
    def environment(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.raw.get("environment", {}).items()}

    @property
    def depends_on(self) -> dict[str, str]:
        """Condition by service."""
        wanted = self.raw.get("depends_on", {})
        if isinstance(wanted, list):
            return dict.fromkeys(wanted, "service_started")
        return {name: item["condition"] for name, item in wanted.items()}

    @property
    def health(self) -> list[str] | None:
        """Its health check's command; None where it has none."""
        check = self.raw.get("healthcheck", {})
        return None if check.get("disable") or "test" not in check else list(check["test"])

    @property
    def volumes(self) -> dict[str, str]:
        """Source by place: a volume's name, or a path beside the file."""
        pairs = (item.split(":") for item in self.raw.get("volumes", []))
        return {place: source for source, place, *_ in pairs}

    @property
    def profiles(self) -> list[str]:
        return list(self.raw.get("profiles", []))

    @property
    def stop_grace_s(self) -> float:
        found = SECONDS.fullmatch(str(self.raw.get("stop_grace_period", "10s")))
        assert found, f"{self.name}: stop_grace_period in whole seconds is all that is understood"
        return float(found[1])

    @property
    def memory_bytes(self) -> int:
        """The bound of its memory."""
        found = re.fullmatch(r"(\d+)([mg])", self.raw["mem_limit"])
        assert found, f"{self.name}: mem_limit in m or g is all that is understood"
        return int(found[1]) << {"m": 20, "g": 30}[found[2]]

    @property
    def names(self) -> set[str]:
        """What the others may call it."""
        networks = self.raw.get("networks", {})
        return {self.name, *networks.get("default", {}).get("aliases", [])}


def variables(text: str | None = None) -> dict[str, str | None]:
    """Every variable of the file with its default; None where it has none."""
    text = COMPOSE_FILE.read_text() if text is None else text
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {found[1]: found[3] if found[2] else None for found in VARIABLE.finditer(code)}


def containers(environment: Mapping[str, str] | None = None) -> dict[str, Container]:
    """The file's services, with variables from `environment` or by default."""
    given = environment or {}

    def fill(found: re.Match[str]) -> str:
        return given.get(found[1]) or (found[3] or "")

    document = yaml.safe_load(VARIABLE.sub(fill, COMPOSE_FILE.read_text()))
    return {name: Container(name, raw) for name, raw in document["services"].items()}


@dataclass(frozen=True)
class Image:
    """The last stage of the Dockerfile."""

    entrypoint: list[str]
    environment: dict[str, str]
    user: str
    workdir: str
    instructions: tuple[tuple[str, str], ...]


def image() -> Image:
    """What the Dockerfile gives every container."""
    lines = re.sub(r"\\\n", " ", DOCKERFILE.read_text()).splitlines()
    steps = [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]
    last = max(place for place, step in enumerate(steps) if step[0] == "FROM")
    stage = tuple((word, rest.strip()) for word, rest in steps[last:])
    given = dict(stage)
    pairs = (re.findall(r"(\w+)=(\S+)", rest) for word, rest in stage if word == "ENV")
    return Image(
        entrypoint=json.loads(given["ENTRYPOINT"]),
        environment={name: value for found in pairs for name, value in found},
        user=given["USER"],
        workdir=given["WORKDIR"],
        instructions=stage,
    )
