"""Generates the Python modules and type stubs of the .proto files beside this one.

``python -m protos.generate`` writes them; ``--check`` writes nothing and exits 1 on drift.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).parent
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")


def generate(out: Path) -> None:
    """Compiles every contract into ``out/protos``; raises RuntimeError when protoc refuses one."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    sources = sorted(f"protos/{path.name}" for path in HERE.glob("*.proto"))
    arguments = [
        "protoc",
        f"-I{HERE.parent}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out={out}",
        f"--mypy_grpc_out={out}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc failed on {', '.join(sources)}; its message is above")


def contents(directory: Path) -> dict[str, str]:
    """Generated files below ``directory`` by name."""
    return {p.name: p.read_text() for p in directory.iterdir() if GENERATED.search(p.name)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if the modules have drifted")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        fresh = contents(Path(temporary) / "protos")
    current = contents(HERE)
    drifted = sorted(n for n in fresh.keys() | current.keys() if fresh.get(n) != current.get(n))
    if check:
        for name in drifted:
            print(f"{name} differs from its .proto; run: uv run python -m protos.generate")
        return 1 if drifted else 0
    for name in drifted:
        path = HERE / name
        if name in fresh:
            path.write_text(fresh[name])
        else:
            path.unlink()
    print(f"{len(fresh)} generated files, {len(drifted)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
