"""docs/components.md is the list of components that a newcomer trusts; these hold it true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KIND_BASES = {
    "query hydrator": {"QueryHydrator"},
    "source": {"Source"},
    "hydrator": {"Hydrator"},
    "late hydrator": {"Hydrator"},
    "filter": {"Filter", "MergingFilter"},
    "late filter": {"Filter"},
    "scorer": {"Scorer"},
    "selector": {"Selector", "TopKSelector"},
    "side effect": {"SideEffect"},
}


def rows() -> list[list[str]]:
    text = (ROOT / "docs/components.md").read_text()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    return [row for row in cells if len(row) == 5 and row[0] in KIND_BASES]


def component_classes() -> dict[str, str]:
    """Every class in home_mixer that subclasses a kind: name → file."""
    bases = set().union(*KIND_BASES.values())
    found = {}
    for path in (ROOT / "home_mixer").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                names = {ast.unparse(base).split("[")[0] for base in node.bases}
                if names & bases and not node.name.startswith("_"):
                    found[node.name] = str(path.relative_to(ROOT))
    return found


def test_every_component_of_the_code_is_listed_and_no_other() -> None:
    """A component that nobody lists is one that nobody reviews."""
    assert {row[1]: row[2] for row in rows()} == component_classes()


def test_the_readme_counts_them_right() -> None:
    listed = {row[1] for row in rows()}  # one may have two places
    assert f"{len(listed)} components" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_row_points_to_the_component_and_to_a_test_of_it(row: list[str]) -> None:
    """The file defines the class as the kind that the table says; the test uses it."""
    kind, name, file, test, sentence = row
    tree = ast.parse((ROOT / file).read_text())
    found = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    assert found, f"{file} does not define {name}"
    bases = {ast.unparse(base).split("[")[0] for base in found[0].bases}
    assert bases & KIND_BASES[kind], f"{name} is a {bases}, listed as {kind}"
    assert re.search(rf"\b{name}\b", (ROOT / test).read_text()), f"{test} does not use {name}"
    assert sentence


def wired() -> list[str]:
    """Names in home_mixer/pipeline.py's lists, in their order."""
    tree = ast.parse((ROOT / "home_mixer/pipeline.py").read_text())
    listed = {row[1] for row in rows()}
    made: dict[str, str] = {}  # a component that the file names before it lists it
    call = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made[ast.unparse(node.targets[0])] = ast.unparse(node.value.func)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "CandidatePipeline":
            call = node
    assert call is not None
    order = []
    for keyword in call.keywords:
        items = keyword.value.elts if isinstance(keyword.value, ast.List) else [keyword.value]
        for item in items:
            name = ast.unparse(item.func if isinstance(item, ast.Call) else item)
            if made.get(name, name) in listed:
                order.append(made.get(name, name))
    return order


def test_table_is_in_the_order_of_the_pipeline() -> None:
    """The table is read as the order of execution; the wiring file is that order."""
    assert [row[1] for row in rows()] == wired()
