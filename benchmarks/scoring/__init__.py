"""The ranker beside full masked attention and the machine's own matrix products, in one run.

Ours are the compiled serving programs: the context encoded once, the candidates scored against it.
The peer puts viewer, history and candidates into one masked sequence, as the original does
(`benchmarks.scoring.full_attention`): jitted in float32 and bfloat16, and eager as it ships. In
float32 all probabilities must agree before anything is timed; what bfloat16 costs is printed
beside the times, as is what int8 weights cost. Matrix products of 2048³ take turns with them: they
are the machine's peak; and the blocks of our own kernels on one core: they are the kernels'.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Line, Report, Timing, ratio, sized, take_turns
from benchmarks.scoring.blocks import block_turns, operations
from benchmarks.scoring.contestants import DTYPES, PEAK_SIDE, Contest, peaks
from benchmarks.scoring.roofline import Work, score_work
from phoenix.config import RankerConfig, ranker_preset

CANDIDATES = (512, 1_200)
PROMISED_CANDIDATES = 1_200
QUICK_CANDIDATES, QUICK_HISTORY, QUICK_SIDE, QUICK_REPEATS = 40, 8, 64, 3  # of the nano preset
HISTORY = 128
REPEATS = 25
EAGER_TURNS = 3  # of the eager peer, which takes as long as all others together
RUNS_A_TURN = 4  # a program's first after a pause has one core: the other still has to wake
DIFFERENCE_MAX = 1e-5  # of a float32 probability
RATIO_BAR, PEAK_SHARE_BAR = 7.0, 0.5
XLA_NOTE = (
    "int8 is of the layers' weights, in our own kernel: XLA's product of bytes is slower than its "
    "bfloat16 one (figures)"
)
LEFT_OUT_NOTE = "int8 is left out: this processor lacks AVX-512 BF16 or VNNI"

INT8 = "ours, int8"
Turn = Callable[[], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the request, and how often."""
    parser.add_argument("--candidates", type=int, nargs="+", help="default 512 and 1200")
    parser.add_argument("--history", type=int, help="events; default 128")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seed", type=int, default=1)


def measure(options: argparse.Namespace) -> Report:
    """AssertionError where a peer answers other probabilities; ValueError for odd sizes."""
    quick: bool = options.quick
    sizes = options.candidates or ([QUICK_CANDIDATES] if quick else list(CANDIDATES))
    history = sized(options, "history", HISTORY, QUICK_HISTORY)
    repeats = sized(options, "repeats", REPEATS, QUICK_REPEATS)
    side = QUICK_SIDE if quick else PEAK_SIDE
    config = ranker_preset("nano" if quick else "mid", history_length=history)
    workload = {
        "width": config.width, "layers": config.layers, "heads": config.heads,
        "key": config.key_size, "history": history, "candidates": sizes, "seed": options.seed,
        "runs a turn": RUNS_A_TURN,
    }  # fmt: skip
    timings: dict[str, dict[str, Timing]] = {}
    figures: dict[str, dict[str, Any]] = {}
    for size in sizes:
        group = f"{size:,} candidates"
        timings[group], figures[group] = _measured(config, size, side, repeats, options.seed)
    promised = f"{PROMISED_CANDIDATES:,} candidates"
    lines = _lines(promised, figures[promised]) if promised in figures and not quick else []
    has_bytes = any(f"{INT8}: score" in taken for taken in timings.values())
    note = XLA_NOTE if has_bytes else LEFT_OUT_NOTE
    return Report("scoring", workload, timings, lines, figures, (note,))


def _measured(
    config: RankerConfig, size: int, side: int, repeats: int, seed: int
) -> tuple[dict[str, Timing], dict[str, Any]]:
    contest = Contest(config, size, seed)
    errors = check_probabilities(contest.probabilities())
    turns: dict[str, Turn] = {**contest.turns(), **peaks(side), **block_turns(contest.served)}
    several = {name: partial(_several, turn) for name, turn in turns.items()}
    taken = take_turns(several, repeats, most={"full, eager bfloat16": EAGER_TURNS})
    seconds = {name: [value / RUNS_A_TURN for value in taken[name]] for name in taken}
    figures = _figures(score_work(config, size, contest.seen), seconds, side)
    timings = {name: Timing.of(values) for name, values in seconds.items()}
    return timings, figures | {"difference of probability": errors}


def _several(turn: Turn) -> None:
    for _ in range(RUNS_A_TURN):
        turn()


def check_probabilities(found: dict[str, np.ndarray[Any, Any]]) -> dict[str, float]:
    """Largest difference from full masked attention in float32, by contestant.

    AssertionError where one in float32 differs by more than rounding.
    """
    truth = found["full, float32"]
    errors = {name: float(np.abs(values - truth).max()) for name, values in found.items()}
    for name in (name for name in found if name.endswith("float32")):
        assert errors[name] <= DIFFERENCE_MAX, (
            f"{name} differs from full masked attention by {errors[name]:.2g} in a probability, "
            f"expected at most {DIFFERENCE_MAX:g}: it computes another function"
        )
    return errors


def _figures(work: Work, seconds: dict[str, list[float]], side: int) -> dict[str, Any]:
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    peak = {name: 2 * side**3 / s for name, s in median.items() if name.startswith("product")}
    roofline = {}
    for dtype in DTYPES:
        achieved = work.flops / median[f"ours, {dtype}: score"]
        roofline[dtype] = {
            "flops": work.flops,
            "bytes": work.bytes_of(dtype),
            "flop/s": achieved,
            "peak flop/s": peak[f"product, {dtype}"],
            "share of the peak": achieved / peak[f"product, {dtype}"],
        }
    ours = {name: values for name, values in seconds.items() if name.endswith("encode + score")}
    ratios = {
        f"{peer} / {name}": ratio(seconds[peer], values)
        for peer in seconds
        if peer.startswith("full")
        for name, values in ours.items()
    }
    int8 = peak["product, int8"] / peak["product, bfloat16"]
    fastest = min(ours, key=median.__getitem__)
    blocks = {name: operations(s) for name, s in median.items() if name.startswith("block")}
    cores = len(os.sched_getaffinity(0))
    shares = {
        name: work.flops / median[f"{name.replace('block', 'ours')}: score"] / (block * cores)
        for name, block in blocks.items()
    }
    return {
        "roofline": roofline,
        "ratios": ratios,
        "int8 / bfloat16 peak": int8,
        "operations/s of a core": blocks,
        "share of the blocks on all cores": shares,  # attention's are bfloat16 in both
        "fastest": fastest,
        "faster jitted full attention / ours": {
            name: min(ratios[f"full, jitted {dtype} / {name}"] for dtype in DTYPES) for name in ours
        },
    }


def _lines(group: str, figures: dict[str, Any]) -> list[Line]:
    what = f"scoring, {group}"
    roofline, fastest = figures["roofline"], figures["fastest"]
    slower = figures["faster jitted full attention / ours"][fastest]
    of = fastest.removesuffix(": encode + score")
    share = roofline["bfloat16"]["share of the peak"]
    difference = figures["difference of probability"]["ours, float32"]
    return [
        Line(f"{what}: the faster jitted full attention / {of}", slower, RATIO_BAR, "at least"),
        Line(f"{what}: share of the bfloat16 peak", share, PEAK_SHARE_BAR, "at least"),
        Line(f"{what}: difference of a float32 probability", difference, DIFFERENCE_MAX, "at most"),
    ]
