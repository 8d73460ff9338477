"""Writes docs/reference.md from the code: settings, ranking parameters, RPCs, metrics.

``python docs/generate.py`` writes it; ``--check`` writes nothing and exits 1 when it has drifted.
Metrics are read from the source, so that none has to run to be documented.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

from foryou.commands.serve import SERVICES, settings_class
from home_mixer.params import load_params
from home_mixer.params.ranking_params import RankingParams
from protos import home_mixer_pb2, phoenix_pb2, thunder_pb2
from service_kit.action_list import ACTION_NAMES

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference.md"
METRIC_KINDS = ("counter", "gauge", "histogram")
METRIC_PREFIXES = (
    ("thunder/", "foryou_thunder_"),
    ("phoenix/", "foryou_phoenix_"),
    ("home_mixer/ingest", "foryou_ingester_"),
    ("home_mixer/", "foryou_home_mixer_"),
    ("service_kit/", "foryou_<service>_"),
)


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table; pipes inside cells are escaped."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


def settings() -> Iterator[str]:
    yield "## Settings"
    yield ""
    yield "Each is a flag, an environment variable and a key of the file that `--config` names."
    yield ""
    for service in SERVICES:
        model = settings_class(service)
        prefix = model.model_config.get("env_prefix", "")
        yield f"### foryou serve {service.name}"
        yield ""
        yield from table(
            ("variable", "default", "meaning"),
            (
                (f"`{prefix}{name.upper()}`", f"`{field.default}`", field.description or "")
                for name, field in model.model_fields.items()
            ),
        )


def parameters() -> Iterator[str]:
    yield "## Ranking parameters"
    yield ""
    yield "A versioned table, `x-2026-10` by default; `params_hash` in every response names it."
    yield ""
    yield from table(
        ("parameter", "default", "meaning"),
        (
            (f"`{f.name}`", f"`{f.default}`", str(f.metadata["doc"]))
            for f in fields(RankingParams)
            if f.default is not MISSING
        ),
    )
    yield "### Weights"
    yield ""
    october, august = load_params("x-2026-10").weights, load_params("x-2026-08").weights
    yield from table(
        ("head", "x-2026-10", "x-2026-08"),
        ((f"`{h}`", f"{october[h]:g}", f"{august[h]:g}") for h in ACTION_NAMES),
    )


def rpcs() -> Iterator[str]:
    yield "## RPCs"
    yield ""
    rows = []
    for module in (home_mixer_pb2, thunder_pb2, phoenix_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                call = f"{method.input_type.name} → {method.output_type.name}"
                rows.append((f"`{service.full_name}`", f"`{method.name}`", call))
    yield from table(("service", "method", "messages"), iter(rows))


def metric_calls() -> Iterator[tuple[str, str, str]]:
    """(full name, kind, sentence) of every metric that the source makes."""
    for path in sorted(ROOT.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        prefix = next((p for start, p in METRIC_PREFIXES if name.startswith(start)), None)
        if prefix is None:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                literals = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
                if node.func.attr in METRIC_KINDS and len(literals) == 2:
                    yield prefix + str(literals[0]), node.func.attr, str(literals[1])


def metrics() -> Iterator[str]:
    yield "## Metrics"
    yield ""
    yield "On `/metrics` of each service's metrics port, for Prometheus."
    yield ""
    rows = ((f"`{name}`", kind, doc) for name, kind, doc in sorted(set(metric_calls())))
    yield from table(("metric", "kind", "meaning"), rows)


def reference() -> str:
    """The whole page."""
    head = [
        "# Reference",
        "",
        "Made from the code by `uv run python docs/generate.py`; do not edit.",
        "",
    ]
    return "\n".join([*head, *settings(), *parameters(), *rpcs(), *metrics()]).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if the page has drifted")
    if not parser.parse_args().check:
        TARGET.write_text(reference())
        return 0
    if TARGET.exists() and TARGET.read_text() == reference():
        return 0
    print("docs/reference.md differs from the code; run: uv run python docs/generate.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
