"""What `run_ranker.py` and `run_retrieval.py` share: arguments, shipped files, printing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SHIPPED = Path(__file__).parent / "checkpoints" / "demo"
SAMPLE_SEQUENCE = SHIPPED / "sample_posts.json"
BAR_CELLS = 20
BANNER_WIDTH = 70
TEXT_WIDTH = 60


def parser(description: str, kind: str, top_k: int) -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    arguments.add_argument(
        "--checkpoint", type=Path, default=SHIPPED / kind,
        help="directory of checkpoints, or one version of it",
    )  # fmt: skip
    arguments.add_argument(
        "--sequence", type=Path, default=SAMPLE_SEQUENCE,
        help="JSON file: user_id, history and candidates (phoenix/README.md)",
    )  # fmt: skip
    arguments.add_argument("--top-k", type=_positive, default=top_k, help="posts to print")
    return arguments


def run(body: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Exit code: 0, or 1 with one sentence on standard error."""
    try:
        body(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def bar(share: float) -> str:
    """0 to 1 in twenty cells."""
    filled = round(min(max(share, 0.0), 1.0) * BAR_CELLS)
    return "█" * filled + "░" * (BAR_CELLS - filled)


def banner(lines: Sequence[str]) -> str:
    rule = "=" * BANNER_WIDTH
    return "\n".join([rule, *lines, rule])


def one_line(text: str) -> str:
    """A post's text on one line, shortened."""
    flat = " ".join(text.split())
    return flat if len(flat) <= TEXT_WIDTH else flat[: TEXT_WIDTH - 1] + "…"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)
