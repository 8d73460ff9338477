"""What an operator starts with `docker compose up`, read without Docker: it must be complete,
hardened, and start nothing that our command does not know."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_parts.compose_file import ROOT, Container, containers, image, variables

from foryou.cli import run
from foryou.commands.serve import SERVICES, settings_class

CONTAINERS = containers()
OWN = {name: item for name, item in CONTAINERS.items() if item.own}
SERVERS = {name: item for name, item in OWN.items() if item.command[0] == "serve"}
NO_COMPOSE = "needs docker-compose on the PATH (Debian: apt-get install docker-compose)"
DRAIN_SECONDS = 10.0  # every service's default


def own(name: str) -> Container:
    return OWN[name]


def composed(*flags: str) -> dict[str, Any]:
    """The file as docker-compose understands it."""
    command = ["docker-compose", *flags, "config"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout)["services"])


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason=NO_COMPOSE)
@pytest.mark.parametrize("flags", [(), ("--profile", "demo")], ids=["plain", "demo"])
def test_docker_compose_understands_the_file_as_these_tests_do(flags):
    """Else the other tests would look at something that nobody runs."""
    services = composed(*flags)
    wanted = {name for name, item in CONTAINERS.items() if flags or not item.profiles}
    assert wanted <= services.keys() <= CONTAINERS.keys()  # 1.29 shows those of profiles, too
    for name, service in services.items():
        assert service.get("command", []) == CONTAINERS[name].command
        given = service.get("environment", {})
        assert {key: str(value) for key, value in given.items()} == CONTAINERS[name].environment


def test_every_variable_has_a_default():
    """`docker compose up` on a fresh clone must not ask for anything."""
    assert [name for name, default in variables().items() if default is None] == []


def test_variables_are_told_where_an_operator_looks():
    manual = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in variables() if f"`{name}`" not in manual] == []


def test_there_is_no_secret_in_the_file():
    text = (ROOT / "docker-compose.yml").read_text().lower()
    assert not re.search(r"(password|passwd|secret|token|api_?key)\w*\s*[:=]\s*\S", text)


def test_the_topology_is_the_one_of_the_documentation():
    assert set(SERVERS) == {
        *("thunder-feeder", "thunder-0", "thunder-1", "phoenix", "home-mixer", "ingester")
    }
    assert set(CONTAINERS) - set(OWN) == {"kafka", "redis", "prometheus", "grafana"}
    assert own("demo").profiles == ["demo"]
    assert [name for name, item in CONTAINERS.items() if item.profiles] == ["demo"]


@pytest.mark.parametrize("name", OWN)
def test_every_command_is_one_of_ours(name, capsys, monkeypatch):
    """A flag that was renamed would be seen at the first `docker compose up` only."""
    monkeypatch.setenv("COLUMNS", "200")
    assert run([*own(name).command, "--help"]) == 0
    flags = {word for word in own(name).command if word.startswith("--")}
    assert flags <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


@pytest.mark.parametrize("name", SERVERS)
def test_every_environment_loads_as_its_services_settings(name, monkeypatch):
    """A misspelt variable ends a service at its start."""
    command = own(name).command
    (service,) = [item for item in SERVICES if item.name == command[1]]
    for key, value in own(name).environment.items():
        monkeypatch.setenv(key, value)
    flags = dict(zip(command[2::2], command[3::2], strict=True))
    settings = settings_class(service).load(
        **{flag.removeprefix("--"): value for flag, value in flags.items()}
    )
    assert settings.grpc_host == "0.0.0.0"
    assert settings.grpc_port > 0
    assert settings.metrics_port == 9464
    assert settings.kafka_bootstrap_servers == "kafka:9092"
    assert own(name).stop_grace_s >= 2 * settings.drain_seconds
    assert own(name).health[-1 if "--alive" not in own(name).health else -2] == (
        f"127.0.0.1:{settings.grpc_port}"
    )


@pytest.mark.parametrize("name", OWN)
def test_our_containers_are_held_tightly(name):
    """One that is broken into can change nothing but its own data."""
    raw = own(name).raw
    assert raw["user"] == image().user == "10001:10001"
    assert raw["read_only"] is True
    assert [place.split(":")[0] for place in raw["tmpfs"]] == ["/tmp"]
    assert raw["cap_drop"] == ["ALL"]
    assert "cap_add" not in raw
    assert not raw.get("privileged")
    assert raw["security_opt"] == ["no-new-privileges:true"]
    assert raw["mem_limit"]
    assert raw["pids_limit"]
    assert set(own(name).volumes) <= {"/data"}


@pytest.mark.parametrize("name", set(CONTAINERS) - set(OWN))
def test_what_others_made_is_held_as_far_as_it_goes(name):
    raw = CONTAINERS[name].raw
    assert raw["cap_drop"] == ["ALL"]
    assert raw["security_opt"] == ["no-new-privileges:true"]
    assert raw["mem_limit"]
    assert raw.get("read_only") or name == "kafka"
    assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", raw["image"]), "a version, not latest"


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_service_is_watched_and_comes_back(name):
    item = CONTAINERS[name]
    once = item.command[:1] in (["topics"], ["demo"])
    assert (item.health is None) == once
    assert item.raw["restart"] == ("no" if once else "unless-stopped")


@pytest.mark.parametrize("name", CONTAINERS)
def test_ports_are_open_to_this_machine_only(name):
    """Nothing here asks for a password: what reaches a port may use it."""
    for port in CONTAINERS[name].raw.get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVERS)
def test_a_service_waits_for_its_topics(name):
    assert own(name).depends_on["topics"] == "service_completed_successfully"


def test_dependencies_name_services_and_what_these_can_be_waited_for():
    for item in CONTAINERS.values():
        for needed, condition in item.depends_on.items():
            if condition == "service_healthy":
                assert CONTAINERS[needed].health is not None
            if condition == "service_completed_successfully":
                assert CONTAINERS[needed].raw["restart"] == "no"


def test_both_thunders_answer_to_the_name_that_home_mixer_asks():
    address = own("home-mixer").environment["HOME_MIXER__THUNDER_ADDRESS"]
    assert address == "dns:///thunder:50052"
    assert "thunder" in own("thunder-0").names & own("thunder-1").names
    assert own("thunder-0").volumes != own("thunder-1").volumes


def test_the_demo_hands_its_models_to_phoenix():
    assert own("demo").volumes["/data"] == own("phoenix").volumes["/data"]
    assert own("demo").environment["DEMO_DATA_DIR"] == "/data"
    assert own("phoenix").environment["PHOENIX__DATA_DIR"] == "/data"


def test_the_demo_watches_everything_that_reads_events():
    watched = own("demo").environment["DEMO_METRICS_ADDRESSES"].split(",")
    readers = set(SERVERS) - {"home-mixer"}  # which writes events and reads none
    assert sorted(watched) == sorted(f"{name}:9464" for name in readers)


def test_the_image_starts_our_command_as_nobody_and_stops_it_by_sigterm():
    given = dict(image().instructions)
    assert image().entrypoint == ["foryou"]
    assert given["STOPSIGNAL"] == "SIGTERM"
    assert given["USER"] == "10001:10001"
    assert 'CMD ["foryou", "health"]' in given["HEALTHCHECK"]
    labels = " ".join(rest for word, rest in image().instructions if word == "LABEL")
    assert all(f"org.opencontainers.image.{name}=" in labels for name in ("title", "licenses"))


def test_the_image_is_built_from_every_package_and_nothing_else():
    """A package that is forgotten fails in the container alone; .git in the context is slow."""
    document = (ROOT / "pyproject.toml").read_text()
    (line,) = [item for item in document.splitlines() if item.startswith("packages = ")]
    packages = set(json.loads(line.removeprefix("packages = ")))
    copied = {
        word
        for step in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.M)
        for word in step.split()[:-1]
    }
    files = {"pyproject.toml", "uv.lock", "README.md", "LICENSE"}
    assert copied == packages | files
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {item[1:] for item in ignore if item.startswith("!")} == copied


def test_prometheus_scrapes_every_service_at_its_metrics_port():
    document = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = [
        target
        for job in document["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert sorted(targets) == sorted(f"{name}:9464" for name in SERVERS)


def mounted(container: Container) -> Mapping[str, Path]:
    return {
        place: ROOT / source
        for place, source in container.volumes.items()
        if source.startswith("./")
    }


def test_mounted_files_exist():
    places = [path for item in CONTAINERS.values() for path in mounted(item).values()]
    assert places
    assert [path for path in places if not path.exists()] == []


def test_grafana_finds_its_dashboard_and_prometheus():
    grafana = CONTAINERS["grafana"]
    provisioning = mounted(grafana)["/etc/grafana/provisioning"]
    provider = yaml.safe_load((provisioning / "dashboards/foryou.yml").read_text())
    place = provider["providers"][0]["options"]["path"]
    assert place in grafana.volumes
    home = grafana.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (mounted(grafana)[place] / Path(home).name).exists()
    source = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert source["datasources"][0]["uid"] == "prometheus"
