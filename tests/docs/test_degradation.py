"""docs/degradation.md is what an operator reads at night; these hold it to code and tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/degradation.md").read_text()
REASON = re.compile(r"`(\w+):(\w+)`")
SHARE = re.compile(r"^share_\d+_")
# Reasons that are not one string of the code: gRPC's statuses and the runner's own words.
GENERAL = {"unavailable", "timeout", "error"}


def rows() -> list[list[str]]:
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in PAGE.splitlines()]
    return [row for row in cells if len(row) == 6 and "::" in row[5]]


@pytest.fixture(scope="module")
def nodes() -> list[ast.AST]:
    """All of home_mixer's code."""
    files = (ROOT / "home_mixer").rglob("*.py")
    return [node for path in files for node in ast.walk(ast.parse(path.read_text()))]


def outage_tests() -> set[str]:
    return {
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in (ROOT / "tests/e2e/degradation").glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_row_has_its_test_and_every_test_its_row() -> None:
    """A row that nothing breaks is a hope; an outage without a row surprises at night."""
    assert len(rows()) > 15
    assert {row[5] for row in rows()} == outage_tests()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[5].partition("::")[2])
def test_reasons_of_the_row_are_the_codes(row: list[str], nodes: list[ast.AST]) -> None:
    """An operator searches for what a log says, letter by letter."""
    said = REASON.findall(row[3])
    assert said or row[3].startswith("none"), "name the reasons, or say none"
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    strings = {node.value for node in nodes if isinstance(node, ast.Constant)}
    for component, why in said:
        assert component in classes
        assert SHARE.sub("", why) in strings | GENERAL


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[5].partition("::")[2])
def test_the_test_asks_for_the_reasons_that_the_row_names(row: list[str]) -> None:
    """Rows of several processes name what any of them says; each is in the test's file."""
    path, _, _ = row[5].partition("::")
    text = (ROOT / path).read_text()
    for component, why in REASON.findall(row[3]):
        assert f"{component}:{why}" in text or f'"{component}"' in text
