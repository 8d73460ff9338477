"""`python -m benchmarks.page [--check]`: docs/performance.md, its pictures, README's table.

--check writes nothing and exits 1 when they are not what the saved results give.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.page.page import all_pictures, newest, page, readme_table

ROOT = Path(__file__).parents[2]
DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results"
README = "../README.md"
BEGIN, END = "<!-- figures: python -m benchmarks.page -->", "<!-- end of figures -->"


def contents(results: Path = RESULTS, docs: Path = DOCS) -> dict[str, str]:
    """Path below docs → text. README.md is above it and keeps all but its table."""
    reports = newest(results)
    files = {f"pictures/performance/{name}": svg for name, svg in all_pictures(reports).items()}
    readme = _with_table((docs / README).read_text(), readme_table(reports))
    return {"performance.md": page(reports), README: readme, **files}


def _with_table(readme: str, table: str) -> str:
    """ValueError where the README has no place for the table."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md wants the lines {BEGIN} and {END}, for a table between them")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def drifted(docs: Path, wanted: dict[str, str]) -> list[str]:
    """Files that differ from what is wanted, are missing, or are left from an earlier page."""
    old = {f"pictures/performance/{one.name}" for one in _pictures(docs)}
    differing = [
        name
        for name, text in wanted.items()
        if not (docs / name).is_file() or (docs / name).read_text() != text
    ]
    return sorted({*differing, *(old - wanted.keys())})


def main(arguments: list[str] | None = None, docs: Path = DOCS) -> int:
    """0: written, or as it should be; 1: `--check` found drift."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on drift")
    options = parser.parse_args(arguments)
    wanted = contents(docs=docs)
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
