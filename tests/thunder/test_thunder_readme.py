"""The README names every setting, metric and file that there is."""

from __future__ import annotations

from pathlib import Path

from service_kit.consumer import ConsumerMetrics
from service_kit.metrics import Metrics
from thunder.metrics import FeederMetrics, ThunderMetrics
from thunder.settings import ThunderSettings

PACKAGE = Path(__file__).parents[2] / "thunder"
README = (PACKAGE / "README.md").read_text()


def test_every_setting_is_listed_with_its_default() -> None:
    for name, field in ThunderSettings.model_fields.items():
        assert f"| `THUNDER__{name.upper()}` | `{field.default}` | {field.description} |" in README


def test_every_metric_is_listed() -> None:
    metrics = Metrics("thunder")
    ThunderMetrics(metrics)
    FeederMetrics(metrics)
    ConsumerMetrics.of(metrics)
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"| `{name}` | {family.type} |" in README


def test_every_module_is_listed() -> None:
    listed = README + "`rwlock.py`"  # a detail of store.py
    for path in PACKAGE.glob("*.py"):
        assert f"`{path.name}`" in listed or path.name == "__init__.py", path.name
