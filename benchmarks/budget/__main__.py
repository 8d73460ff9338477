"""`python -m benchmarks.budget [--update]`: fails when a feed costs 15 % more than committed."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.budget import Ratio, measure_ratio, verdict
from benchmarks.budget.work import calibration, one_feed
from benchmarks.harness import conditions

Side = Callable[[], object]
BASELINE = Path(__file__).parent / "baseline.json"
TURNS = 160
RUNS = 3  # the middle one counts


def main(arguments: list[str] | None = None, baseline: Path = BASELINE) -> int:
    """0: within the budget, or `--update` wrote it; 1: above it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__)
    parser.add_argument("--update", action="store_true", help="commit what is measured now")
    parser.add_argument("--turns", type=int, default=TURNS)
    options = parser.parse_args(arguments)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        sides = one_feed(loop), calibration(loop)
        gc.collect()
        gc.freeze()  # the world is no garbage; walking it is no cost of a feed
        try:
            found = [_measured(*sides, options.turns) for _ in range(RUNS)]
        finally:
            gc.unfreeze()
    middle = sorted(found, key=lambda one: one.value)[RUNS // 2]
    if options.update:
        baseline.write_text(json.dumps({"ratio": round(middle.value, 4), **conditions()}) + "\n")
        return 0
    wrong = verdict(middle, json.loads(baseline.read_text())["ratio"])
    if wrong:
        print(wrong, file=sys.stderr)
    return 1 if wrong else 0


def _measured(feed: Side, calibrate: Side, turns: int) -> Ratio:
    found = measure_ratio(feed, calibrate, time.thread_time, turns)
    print(
        f"one feed: {found.value:.4f} of the calibration"
        f" (± {found.spread / found.value:.1%}, {found.turns} turns)",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
