"""Writes dashboards/foryou.json from the table below: `python deploy/grafana/make_dashboard.py`.

A panel is its title, unit and queries, and a sentence on how to read it; Grafana's layout follows
from the order, which is why all stand in one long file. `or vector(0)` stands only where no series
means that it never happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).parent / "dashboards" / "foryou.json"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8  # of a grid that is 24 wide
RATE = "$__rate_interval"
FEED = "foryou_home_mixer_request_seconds_bucket"
LOOKUPS = "foryou_phoenix_context_cache_total"
COMPONENT = "foryou_home_mixer_component_seconds_bucket"


class Query(NamedTuple):
    expression: str
    legend: str


class Panel(NamedTuple):
    title: str
    meaning: str
    unit: str
    queries: tuple[Query, ...]


def quantile(share: float, buckets: str, by: str = "") -> str:
    """A quantile of a histogram over the panel's rate interval."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({buckets}[{RATE}])))"


def p50_p99(buckets: str, by: str = "") -> tuple[Query, ...]:
    legend = f" {{{{{by}}}}}" if by else ""
    return (
        Query(quantile(0.5, buckets, by), f"p50{legend}"),
        Query(quantile(0.99, buckets, by), f"p99{legend}"),
    )


def rate(metric: str, by: str, *, never: bool = False) -> str:
    """Per second, summed; `never`: 0 while the counter has no series."""
    summed = f"sum by ({by}) (rate({metric}[{RATE}]))"
    return f"{summed} or vector(0)" if never else summed


def every(suffix: str) -> str:
    """A metric that each service has under its own prefix."""
    return f'{{__name__=~"foryou_.+_{suffix}"}}'


FEEDS = (
    Panel(
        "Feeds a second",
        "By method and gRPC status; RESOURCE_EXHAUSTED is a home_mixer that is full.",
        "reqps",
        (Query(rate("foryou_home_mixer_requests_total", "method, code"), "{{method}} {{code}}"),),
    ),
    Panel("Time of a feed", "The budget is a second by default.", "s", p50_p99(FEED)),
    Panel(
        "Posts in a feed",
        "Its mean; empty feeds a second beside it.",
        "short",
        (
            Query(
                f"sum(rate(foryou_home_mixer_feed_posts_sum[{RATE}])) "
                f"/ sum(rate(foryou_home_mixer_feed_posts_count[{RATE}]))",
                "posts",
            ),
            Query(f"sum(rate(foryou_home_mixer_feed_empty_total[{RATE}]))", "empty feeds a second"),
        ),
    ),
)
DEGRADATION = (
    Panel(
        "Degraded answers a second, by reason",
        "What answers had to go without; docs/degradation.md has a row for each.",
        "reqps",
        (Query(rate("foryou_home_mixer_degraded_total", "reason", never=True), "{{reason}}"),),
    ),
    Panel(
        "Components that fail, a second",
        "Failed: its policy stood in. Degraded: it brought part of its work.",
        "ops",
        (
            Query(
                rate(
                    'foryou_home_mixer_component_runs_total{outcome=~"failed|degraded"}',
                    "component, outcome",
                    never=True,
                ),
                "{{component}} {{outcome}}",
            ),
        ),
    ),
    Panel(
        "Circuit breakers",
        "0 closed, 1 half open, 2 open: a dependency that is not called for now.",
        "short",
        (Query("max by (to) (foryou_home_mixer_circuit_state)", "{{to}}"),),
    ),
)
STAGES = (
    Panel(
        "Stages, p99",
        "Of their components; those of one stage run together where they can.",
        "s",
        (Query(quantile(0.99, COMPONENT, "stage"), "{{stage}}"),),
    ),
    Panel(
        "Slowest components, p99",
        "Where the time of a feed goes.",
        "s",
        (Query(f"topk(10, {quantile(0.99, COMPONENT, 'component')})", "{{component}}"),),
    ),
    Panel(
        "Candidates by where they ended",
        "Every candidate ends in exactly one of these.",
        "short",
        (Query(rate("foryou_home_mixer_candidates_total", "fate"), "{{fate}}"),),
    ),
    Panel(
        "What filters remove, a second",
        "A filter that suddenly removes much more has lost its data or found a flood.",
        "short",
        (
            Query(
                f"topk(10, {rate('foryou_home_mixer_filter_removed_total', 'filter')})",
                "{{filter}}",
            ),
        ),
    ),
    Panel(
        "Feeds in flight",
        "Its bound is HOME_MIXER__MAX_CONCURRENT_REQUESTS.",
        "short",
        (Query("sum by (instance) (foryou_home_mixer_requests_in_flight)", "{{instance}}"),),
    ),
    Panel(
        "Side effects that were dropped, a second",
        "Served posts that may be shown again.",
        "ops",
        (
            Query(
                rate("foryou_home_mixer_side_effects_dropped_total", "component", never=True),
                "{{component}}",
            ),
        ),
    ),
)
EVENTS = (
    Panel(
        "Lag by topic",
        "Events that a service has not handled yet.",
        "short",
        (
            Query(
                f"sum by (job, instance, topic) ({every('consumer_lag_records')})",
                "{{job}} {{instance}} {{topic}}",
            ),
        ),
    ),
    Panel(
        "Lag by partition, the largest twenty",
        "One partition alone that lags is one key that is hot, or a leader that is gone.",
        "short",
        (
            Query(
                "topk(20, max by (job, instance, topic, partition) "
                f"({every('consumer_lag_records')}))",
                "{{job}} {{instance}} {{topic}}[{{partition}}]",
            ),
        ),
    ),
    Panel(
        "Since the lag was measured",
        "Seconds; a consumer that hangs measures nothing and would look as if it were current.",
        "s",
        (
            Query(
                "max by (job, instance, consumer) "
                f"(time() - {every('consumer_lag_measured_timestamp_seconds')})",
                "{{job}} {{instance}} {{consumer}}",
            ),
        ),
    ),
    Panel(
        "Events handled, a second",
        "By consumer.",
        "ops",
        (Query(rate(every("consumer_records_total"), "job, consumer"), "{{job}} {{consumer}}"),),
    ),
    Panel(
        "Dead letters in ten minutes",
        "Events that could not be used; they lie in TOPIC.dead with the reason.",
        "short",
        (
            Query(
                f"sum by (job, topic) (increase({every('consumer_poison_total')}[10m])) "
                "or vector(0)",
                "{{job}} {{topic}}",
            ),
        ),
    ),
    Panel(
        "Batches that failed, a second",
        "Each is read again after a pause; meanwhile its service does not serve.",
        "ops",
        (
            Query(
                rate(every("consumer_restarts_total"), "job, consumer", never=True),
                "{{job}} {{consumer}}",
            ),
        ),
    ),
)
THUNDER = (
    Panel(
        "thunder's answers",
        "Time to an encoded answer.",
        "s",
        p50_p99("foryou_thunder_request_seconds_bucket", "instance"),
    ),
    Panel(
        "thunder's posts",
        "What each replica holds; two full replicas hold the same.",
        "short",
        (Query('foryou_thunder_store_entities{type="posts"}', "{{instance}}"),),
    ),
    Panel(
        "thunder's memory",
        "Of the store's arrays; fixed by THUNDER__POSTS_MAX once they are full.",
        "bytes",
        (Query("foryou_thunder_store_bytes", "{{instance}}"),),
    ),
    Panel(
        "Freshness",
        "Age of the newest post in thunder's answers, median.",
        "s",
        (Query(quantile(0.5, "foryou_thunder_returned_freshness_seconds_bucket"), "p50"),),
    ),
    Panel(
        "Age of thunder's snapshot",
        "-1 before the first; a start replays what is younger than it.",
        "s",
        (Query("foryou_thunder_snapshot_age_seconds", "{{instance}}"),),
    ),
    Panel(
        "Answers cut short, a second",
        "partial = true: time ran out before every followed author was looked at.",
        "ops",
        (Query(rate("foryou_thunder_partial_answers_total", "instance"), "{{instance}}"),),
    ),
)
PHOENIX = (
    Panel(
        "phoenix's answers",
        "p50 and p99 by method.",
        "s",
        p50_p99("foryou_phoenix_request_seconds_bucket", "method"),
    ),
    Panel(
        "Index",
        "Posts that retrieval can answer, and all that it holds.",
        "short",
        (
            Query("foryou_phoenix_index_posts", "index {{instance}}"),
            Query("foryou_phoenix_corpus_posts", "corpus {{instance}}"),
        ),
    ),
    Panel(
        "Batches",
        "Requests that share one call of the model, mean; wait for it, p99 in seconds.",
        "short",
        (
            Query(
                f"sum(rate(foryou_phoenix_merged_viewers_sum[{RATE}])) "
                f"/ sum(rate(foryou_phoenix_merged_viewers_count[{RATE}]))",
                "requests a call",
            ),
            Query(quantile(0.99, "foryou_phoenix_queue_seconds_bucket"), "wait p99"),
        ),
    ),
    Panel(
        "Models in service",
        "1 while one serves.",
        "short",
        (Query("foryou_phoenix_model_loaded", "{{model}} {{instance}}"),),
    ),
    Panel(
        "Canary: largest difference",
        "Probability of a candidate alone against in its request; must stay near 0.",
        "short",
        (Query("max by (instance) (foryou_phoenix_canary_difference_max)", "{{instance}}"),),
    ),
    Panel(
        "Context cache, hits",
        "Share of lookups; the next page of a feed should find its viewer.",
        "percentunit",
        (
            Query(
                f'sum by (model) (rate({LOOKUPS}{{result="hit"}}[{RATE}])) '
                f"/ sum by (model) (rate({LOOKUPS}[{RATE}]))",
                "{{model}}",
            ),
        ),
    ),
)
STORES = (
    Panel(
        "Rows stored, a second",
        "By the ingester, by kind.",
        "ops",
        (Query(rate("foryou_ingester_ingested_rows_total", "kind"), "{{kind}}"),),
    ),
    Panel(
        "Redis, time of a call",
        "p50 and p99, by service.",
        "s",
        p50_p99(every("redis_seconds_bucket"), "job"),
    ),
    Panel(
        "Redis, calls that fail, a second",
        "By service.",
        "ops",
        (Query(rate(every("redis_failures_total"), "job", never=True), "{{job}}"),),
    ),
)
PROCESSES = (
    Panel(
        "Up", "1 while Prometheus can scrape it.", "short", (Query("up", "{{job}} {{instance}}"),)
    ),
    Panel(
        "Memory",
        "Resident, by process.",
        "bytes",
        (Query("process_resident_memory_bytes", "{{job}} {{instance}}"),),
    ),
    Panel(
        "Cores in use",
        "By process.",
        "short",
        (Query(f"rate(process_cpu_seconds_total[{RATE}])", "{{job}} {{instance}}"),),
    ),
)
ROWS = (
    ("Feeds", FEEDS),
    ("What is missing", DEGRADATION),
    ("Stages and components", STAGES),
    ("Events", EVENTS),
    ("thunder", THUNDER),
    ("phoenix", PHOENIX),
    ("Stores", STORES),
    ("Processes", PROCESSES),
)


def dashboard() -> dict[str, Any]:
    """What Grafana reads."""
    return {
        "uid": "foryou",
        "title": "ForYou",
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "tags": ["foryou"],
        "panels": list(_laid_out()),
    }


def _laid_out() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in ROWS:
        number += 1
        grid = {"h": 1, "w": COLUMNS * WIDTH, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": title, "gridPos": grid, "panels": []}
        y += 1
        for place, panel in enumerate(panels):
            number += 1
            row, column = divmod(place, COLUMNS)
            yield _drawn(panel, number, column * WIDTH, y + row * HEIGHT)
        y += -(-len(panels) // COLUMNS) * HEIGHT


def _drawn(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": DATASOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
