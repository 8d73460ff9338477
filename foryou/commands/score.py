"""`foryou score`: what would these posts score? No service needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from foryou.errors import UsageError

EXAMPLES = (
    'Example: echo \'{"post_id": 1, "author_id": 7, "in_network": true, '
    '"heads": {"favorite": 0.1}}\' | foryou score'
)
STDIN = Path("-")


def score(
    file: Annotated[Path, typer.Argument(help="JSON lines; - is standard input.")] = STDIN,
    params: Annotated[
        str, typer.Option(help="Parameter table, or a .json or .toml file.")
    ] = "x-2026-10",
) -> None:
    """Score posts from their predicted heads, best first, as JSON lines.

    A line: {"post_id": 1, "author_id": 7, "in_network": true, "is_reply": false,
    "is_repost": false, "mutual_follow": true, "video_duration_ms": null, "heads":
    {"favorite": 0.1, "dwell_time": 12.0}}. Heads are probabilities, dwell times are seconds.
    """
    from home_mixer.offline_score import score_lines
    from home_mixer.params import load_params

    try:
        table = load_params(params)
    except ValueError as error:
        raise UsageError(f"--params: {error}") from error
    with _lines(file) as lines:
        for post in score_lines(lines, table):
            print(json.dumps(post))


@contextmanager
def _lines(file: Path) -> Iterator[TextIO]:
    if file == STDIN:
        yield sys.stdin
        return
    try:
        stream = file.open(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    with stream:
        yield stream
