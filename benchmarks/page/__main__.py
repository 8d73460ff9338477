"""`python -m benchmarks.page [--check]`: writes docs/performance.md and its pictures.

--check writes nothing and exits 1 when they are not what the saved results give.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.page.page import all_pictures, newest, page

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def contents(results: Path = RESULTS) -> dict[str, str]:
    """Path below docs → text."""
    reports = newest(results)
    files = {f"pictures/performance/{name}": svg for name, svg in all_pictures(reports).items()}
    return {"performance.md": page(reports), **files}


def drifted(docs: Path, wanted: dict[str, str]) -> list[str]:
    """Files that differ from what is wanted, are missing, or are left from an earlier page."""
    old = {f"pictures/performance/{one.name}" for one in _pictures(docs)}
    differing = [
        name
        for name, text in wanted.items()
        if not (docs / name).is_file() or (docs / name).read_text() != text
    ]
    return sorted({*differing, *(old - wanted.keys())})


def main(arguments: list[str] | None = None, docs: Path = ROOT / "docs") -> int:
    """0: written, or as it should be; 1: `--check` found drift."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on drift")
    options = parser.parse_args(arguments)
    wanted = contents()
    if options.check:
        wrong = drifted(docs, wanted)
        for name in wrong:
            print(f"docs/{name} is not what the results give; run python -m benchmarks.page")
        return 1 if wrong else 0
    for picture in _pictures(docs):
        picture.unlink()
    for name, text in wanted.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text)
    return 0


def _pictures(docs: Path) -> list[Path]:
    return sorted((docs / "pictures" / "performance").glob("*.svg"))


if __name__ == "__main__":
    sys.exit(main())
