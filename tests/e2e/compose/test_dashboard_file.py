"""A panel or an alert on a metric that nobody exports is silent for ever."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess

import pytest
import yaml
from real_parts.compose_file import ROOT

DASHBOARD = ROOT / "deploy/grafana/dashboards/foryou.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
SERVICES = ("home_mixer", "thunder", "phoenix", "ingester")
SUFFIXES = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
NO_PROMTOOL = "needs promtool on the PATH (Debian: apt-get install prometheus)"


def exported() -> set[str]:
    """Every series' name, from the reference that is generated from the code."""
    text = (ROOT / "docs/reference.md").read_text()
    rows = re.findall(r"^\| `(foryou_\S+)` \| (\w+) \|", text, re.M)
    return {
        name.replace("<service>", service) + suffix
        for name, kind in rows
        for service in SERVICES
        for suffix in SUFFIXES[kind]
    }


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def alerts() -> list[dict]:
    return list(yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"])


@pytest.mark.parametrize("expression", [*queries(), *(rule["expr"] for rule in alerts())])
def test_every_metric_of_a_query_is_exported(expression):
    names = exported()
    for name in re.findall(r"(?<![\w.+\"])foryou_[a-z_]+", expression):
        assert name in names
    for pattern in re.findall(r'__name__=~"(foryou_[^"]+)"', expression):
        assert any(re.fullmatch(pattern, name) for name in names)


def test_the_dashboard_is_the_one_of_its_table():
    """What is edited in the JSON alone is lost at the next change."""
    made = runpy.run_path(str(ROOT / "deploy/grafana/make_dashboard.py"))
    assert made["text"]() == DASHBOARD.read_text()


def test_the_dashboard_shows_what_operators_were_promised():
    said = " ".join(queries())
    for part in (
        *("request_seconds", "component_seconds", "degraded_total", "consumer_lag_records"),
        *("circuit_state", "snapshot_age_seconds", "store_entities", "index_posts"),
        *("merged_viewers", "consumer_poison_total", "freshness", "up"),
    ):
        assert part in said


@pytest.mark.skipif(shutil.which("promtool") is None, reason=NO_PROMTOOL)
def test_prometheus_accepts_its_configuration_and_alerts():
    command = ["promtool", "check", "config", str(ROOT / "deploy/prometheus/prometheus.yml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_says_what_to_do_where_an_operator_looks():
    manual = (ROOT / "docs/operations.md").read_text()
    assert [rule["alert"] for rule in alerts() if f"`{rule['alert']}`" not in manual] == []
