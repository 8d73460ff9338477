"""What compiled kernels hold of other modules makes their cache stale when it changes."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import home_mixer.compiled
import phoenix.fused.instructions
import thunder.compiled

ROOT = Path(thunder.compiled.__file__).parents[1]
PACKAGES = {
    "thunder": thunder.compiled,
    "home_mixer": home_mixer.compiled,
    "phoenix": phoenix.fused.instructions,
}


def stamped_files(compiler: Any) -> set[Path]:
    directory = Path(str(compiler.__file__)).parent
    return {(directory / name).resolve() for name in compiler.KERNEL_FILES}


def module_of(file: Path) -> ModuleType:
    return importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


def imported(module: ModuleType) -> dict[str, Path]:
    """Name → file of the project's module that it comes from."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        file = (ROOT / node.module.replace(".", "/")).with_suffix(".py")
        if file.exists():
            found |= {alias.asname or alias.name: file for alias in node.names}
    return found


def read_from_elsewhere(module: ModuleType, stamped: set[Path]) -> Iterator[str]:
    """Names from files without the stamp that a module's constants or compiled functions read."""
    others = {name: file for name, file in imported(module).items() if file not in stamped}
    read = {
        name
        for value in vars(module).values()
        if hasattr(value, "py_func")
        for name in value.py_func.__code__.co_names
    }
    constants = [
        node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
    ]
    read |= {
        name.id
        for node in constants
        for name in ast.walk(node.value or node)
        if isinstance(name, ast.Name)
    }
    yield from (f"{module.__name__}: {name} of {others[name].name}" for name in read & set(others))


@pytest.mark.parametrize("package", PACKAGES)
def test_kernels_hold_nothing_of_a_file_without_the_stamp(package: str) -> None:
    """An update of that file alone would leave kernels that compute with its old constants."""
    stamped = stamped_files(PACKAGES[package])
    kernels = [module_of(file) for file in sorted(stamped)]
    assert any(hasattr(value, "py_func") for module in kernels for value in vars(module).values())
    allowed = {"source_stamp", "stamped"}  # how they are compiled, not what
    found = [
        one
        for module in kernels
        if module.__name__ != "phoenix.ranker"  # whose own constants are what kernels hold
        for one in read_from_elsewhere(module, stamped)
        if one.split()[1] not in allowed
    ]
    assert found == []
