"""The reference page and the links between documents are what a user follows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = {".venv", ".git", ".pytest_cache", "node_modules"}


def documents() -> list[Path]:
    return [p for p in ROOT.rglob("*.md") if not SKIPPED & set(p.relative_to(ROOT).parts)]


def test_reference_has_every_setting_parameter_rpc_and_metric_of_the_code() -> None:
    """An operator searches this page for a name seen in a log or on a dashboard."""
    found = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("document", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_the_documents_lead_somewhere(document: Path) -> None:
    """A newcomer's way through the documents has no dead end."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    dead = [link for link in local if not (document.parent / link).exists()]
    assert not dead
