"""The README's film recommender is what a newcomer runs first: it must print what it promises."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "candidate_pipeline" / "README.md"
FILM_LINES_MAX = 46  # "forty lines", as the formatter writes them, and the data


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_the_film_recommender_prints_what_the_readme_says() -> None:
    (program,) = _blocks("python")
    (promised,) = _blocks("text")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=README.parents[1],
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == promised


def test_it_stays_about_forty_lines_of_code() -> None:
    (program,) = _blocks("python")
    lines = [line for line in program.splitlines() if line.strip()]
    assert len(lines) <= FILM_LINES_MAX


def test_every_file_of_the_package_is_in_the_readme() -> None:
    text = README.read_text()
    files = {path.name for path in README.parent.glob("*.py")} - {"__init__.py", "errors.py"}
    assert {name for name in files if f"`{name}`" not in text} == set()
