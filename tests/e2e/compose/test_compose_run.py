"""`docker compose --profile demo up`, but for Docker: the file's own commands, environments, health
checks and order, on a real Kafka, a real Redis and a real Prometheus, to a feed and back down."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from real_parts.compose_file import ROOT

from home_mixer.client import FeedError, HomeMixerClient

pytestmark = pytest.mark.e2e

POSTS_MIN = 20
FEEDS = 60
START_SECONDS_MAX = 300.0
QUERY_SECONDS = 900  # all of the run
SCRAPES_SECONDS_MAX = 60.0
RATE = "30s"  # what Grafana makes of $__rate_interval at a scrape every 5 s, about
STOP_SLACK_SECONDS = 5.0  # of a busy machine, beside the file's own grace


def test_the_demo_container_ends_with_a_feed(compose_run):
    """It fails by itself for a degraded feed, one that breaks a promise or a short one."""
    said = compose_run.demo_output
    assert f"The feed of viewer {compose_run.viewer_id}" in said
    assert len(re.findall(r"^│ +\d+ +│|^ *\d+ ", said, re.MULTILINE)) >= POSTS_MIN
    assert re.search(r"Captured engagement over \d+ viewers", said)


def test_the_running_home_mixer_serves_a_whole_feed(compose_run):
    """What is left running after the demo is a product, not a show."""
    feed = whole_feed(compose_run)
    assert len(feed.posts) >= POSTS_MIN


def whole_feed(compose_run):
    """A feed that nothing was missing from; asked again while the machine is busy."""
    port = compose_run.containers.book.port("home-mixer", 50051)
    end_s, problem = time.monotonic() + START_SECONDS_MAX, "nothing asked"
    with HomeMixerClient(f"127.0.0.1:{port}") as client:
        while time.monotonic() < end_s:
            try:
                feed = client.get_scored_posts(compose_run.viewer_id)
            except FeedError as error:
                problem = str(error)
            else:
                problem = ", ".join(feed.degraded_reasons)
                if not problem:
                    return feed
            time.sleep(0.5)
    raise AssertionError(f"no whole feed: {problem}")


def test_every_query_of_the_dashboard_returns_data(compose_run):
    """An empty panel is found by the operator, in an outage."""
    port = compose_run.containers.book.port("home-mixer", 50051)
    with HomeMixerClient(f"127.0.0.1:{port}") as client:
        for _ in range(FEEDS):
            client.get_scored_posts(compose_run.viewer_id)
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/foryou.json").read_text())
    queries = {
        f"{panel['title']}: {target['expr']}": target["expr"].replace("$__rate_interval", RATE)
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    assert len(queries) > 30
    end_s = time.monotonic() + SCRAPES_SECONDS_MAX
    while silent := [
        title
        for title, expression in queries.items()
        if not compose_run.prometheus.values(expression, QUERY_SECONDS)
    ]:
        assert time.monotonic() < end_s, "no data for " + "\n".join(silent)
        time.sleep(2.0)


def test_prometheus_sees_every_service_up(compose_run):
    up = compose_run.prometheus.ask("query", query="up")
    assert len(up) == len(compose_run.servers)
    assert all(item["value"][1] == "1" for item in up), up


def test_every_service_shows_its_memory_and_keeps_to_a_part_of_its_bound(compose_run):
    """A container that reaches its limit is killed in the middle of its work."""
    found = compose_run.prometheus.ask("query", query="process_resident_memory_bytes")
    used = {item["metric"]["instance"]: float(item["value"][1]) for item in found}
    suite = compose_run.containers
    for name in compose_run.servers:
        instance = f"127.0.0.1:{suite.book.port(name, 9464)}"
        assert used[instance] < 0.8 * suite.containers[name].memory_bytes, name


def test_no_alert_fires_on_a_healthy_suite(compose_run):
    """An alert that always rings is switched off."""
    firing = compose_run.prometheus.ask("query", query='ALERTS{alertstate="firing"}')
    assert [item["metric"]["alertname"] for item in firing] == []


def test_both_replicas_of_thunder_hold_the_whole_topic(compose_run):
    """The second is there to answer when the first is gone."""
    posts = compose_run.prometheus.ask("query", query='foryou_thunder_store_entities{type="posts"}')
    counts = {item["metric"]["instance"]: float(item["value"][1]) for item in posts}
    counts = {instance: count for instance, count in counts.items() if count}
    assert len(counts) == 2
    assert len(set(counts.values())) == 1


def test_the_commands_for_topics_may_run_at_every_start(compose_run):
    suite = compose_run.containers
    suite.start("topics")
    assert suite.ended("topics", 120.0) == 0
    assert "0 created" in suite.log("topics").read_text()


def test_a_second_demo_refuses_topics_that_are_in_use(compose_run):
    """It would mix two worlds, of which each believes that it is alone."""
    suite = compose_run.containers
    suite.start("demo")
    assert suite.ended("demo", 120.0) == 2
    assert "down --volumes" in suite.log("demo", "err").read_text()


def test_containers_are_held_as_the_file_says(compose_run):
    """As far as this machine can do it: another user, no rights, nothing else to write to."""
    suite = compose_run.containers
    if suite.isolation.user is None:
        pytest.skip("needs root and setpriv, to become another user")
    for name in compose_run.servers:
        status = Path(f"/proc/{suite.running[name].pid}/status").read_text()
        assert re.search(r"^Uid:\s+10001\s", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert suite.isolation.read_only or subprocess.run(["unshare", "-m", "true"]).returncode


def test_every_service_ends_cleanly_within_its_grace(compose_run):
    """`docker compose stop` must not need SIGKILL."""
    suite = compose_run.containers
    for name in reversed(compose_run.servers):
        suite.terminate(name)
    codes = {
        name: suite.ended(name, suite.containers[name].stop_grace_s + STOP_SLACK_SECONDS)
        for name in compose_run.servers
    }
    assert codes == dict.fromkeys(compose_run.servers, 0)


def test_what_was_stopped_starts_again_from_its_volumes(compose_run):
    """`docker compose start` after a night: the same feeds, without loading or training anew."""
    suite = compose_run.containers
    for name in compose_run.servers:
        suite.start(name)
    for name in compose_run.servers:
        suite.wait(name, "service_healthy", START_SECONDS_MAX)
    assert whole_feed(compose_run).posts  # phoenix is alive at once; its models take a while
    taken, end_s = {}, time.monotonic() + START_SECONDS_MAX
    while len(taken) < 2:  # Prometheus asks every five seconds
        assert time.monotonic() < end_s, f"no snapshot was used: {taken}"
        found = compose_run.prometheus.ask(
            "query", query="foryou_thunder_snapshot_restored_posts > 0"
        )
        taken = {item["metric"]["instance"]: item["value"][1] for item in found}
        time.sleep(0.5)
