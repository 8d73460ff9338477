"""What the demo says at its end: a table and two numbers, or one JSON object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from foryou.demo import DemoResult
from foryou.tables import console, feed_table, post_rows


def as_json(result: DemoResult) -> dict[str, Any]:
    """The object that `--json` prints."""
    feed = result.response.response
    return {
        "time_to_first_feed_seconds": round(result.first_feed_seconds, 3),
        "phases": [
            {"name": phase.name, "seconds": round(phase.seconds, 3)} for phase in result.phases
        ],
        "viewer_id": result.viewer_id,
        "posts": post_rows(result.response),
        "captured_engagement": {
            "ours": result.captured.ours,
            "popularity": result.captured.popularity,
        },
        "expected_values": dict(result.captured.expected_values),
        "judged_viewers": result.captured.viewers,
        "addresses": dict(result.addresses),
        "params_hash": feed.params_hash,
        "model_version": feed.model_version,
        "degraded_reasons": list(feed.degraded_reasons),
    }


def show(result: DemoResult, out: Console | None = None) -> None:
    """The feed, the times and the judgement, for people."""
    out = out or console()
    out.print(feed_table(result.response, f"The feed of viewer {result.viewer_id}"))
    out.print(_fates(result))
    captured = result.captured
    out.print(
        f"Captured engagement over {captured.viewers} viewers: [bold]{captured.ours:.3f}[/bold] "
        f"(popularity {captured.popularity:.3f}; newest-first is 0, an all-knowing order 1)"
    )
    out.print(f"First feed after {result.first_feed_seconds:.1f} s: {_phases(result)}")


def how_to_call(result: DemoResult, data_dir: Path) -> str:
    """Commands to copy."""
    mixer = result.addresses["home-mixer"]
    viewer = result.viewer_id
    services = ", ".join(f"{name} {address}" for name, address in result.addresses.items())
    return f"""
Serving until Ctrl-C: {services}
Logs and data: {data_dir}

  foryou feed {viewer} --address {mixer}
  grpcurl -plaintext -d '{{"viewer_id": {viewer}}}' {mixer} \\
      foryou.home_mixer.v1.ScoredPostsService/GetScoredPosts
  python -c 'from home_mixer.client import HomeMixerClient
with HomeMixerClient("{mixer}") as client:
    print(client.get_scored_posts({viewer}))'

What there is to know of the ranker, as one HTML page:

  foryou report {data_dir / "checkpoints" / "ranker"} --data-dir {data_dir}
"""


def _fates(result: DemoResult) -> Table:
    """What became of every candidate."""
    table = Table(title="Its candidates", title_justify="left", header_style="bold")
    table.add_column("fate")
    table.add_column("posts", justify="right")
    for fate, count in sorted(result.response.fate_counts.items(), key=lambda item: -item[1]):
        table.add_row(fate, str(count))
    return table


def _phases(result: DemoResult) -> str:
    return ", ".join(f"{phase.name} {phase.seconds:.1f} s" for phase in result.phases)
