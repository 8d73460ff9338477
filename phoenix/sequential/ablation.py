"""One change at a time against the base, at the same number of epochs, on the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phoenix.sequential.config import configure
from phoenix.sequential.experiment import Result, Row, run
from phoenix.sequential.protocol import Protocol

BASE = "base"
# What is changed of the base; one line of the table each.
CHANGES: dict[str, dict[str, Any]] = {
    "loss-sampled-uniform": {"loss": "sampled", "sampling": "uniform"},
    "loss-sampled-in-batch": {"loss": "sampled", "sampling": "in_batch"},
    "loss-sampled-mixed": {"loss": "sampled", "sampling": "mixed"},
    "loss-sampled-no-log-q": {"loss": "sampled", "sampling": "mixed", "log_q": False},
    "loss-gbce": {"loss": "gbce", "sampling": "uniform"},
    "heads-2": {"heads": 2},
    "layers-1": {"layers": 1},
    "layers-3": {"layers": 3},
    "width-64": {"width": 64},
    "width-128": {"width": 128},
    "batch-6400": {"tokens_per_batch": 6_400},
    "norm-sandwich": {"norm": "sandwich"},
    "soft-cap": {"soft_cap": True},
    "positions-rotary": {"positions": "rotary"},
    "positions-both": {"positions": "both"},
    "positions-none": {"positions": "none"},
    "temperature": {"unit_norm": True},
    "item-tower-mlp": {"item_tower": "mlp"},
    "item-init-random": {"item_init": "random"},
    "item-bias": {"item_bias": True},
    "dropout-none": {"dropout": 0.0, "embedding_dropout": 0.0},
    "dropout-0.05": {"dropout": 0.05, "embedding_dropout": 0.05},
    "dropout-0.2": {"dropout": 0.2, "embedding_dropout": 0.2},
    "dropout-attention": {"attention_dropout": 0.2},
    "input-mask": {"input_mask": 0.1},
    "label-smoothing": {"label_smoothing": 0.1},
    "weight-decay": {"weight_decay": 0.01},
    "schedule-constant": {"schedule": "constant"},
    "windows-newest": {"windows": "newest"},
    "windows-shifted": {"windows": "shifted"},
    "ema": {"ema": 0.999},
    "length-50": {"history_length": 50},
    "length-100": {"history_length": 100},
    "bfloat16": {"compute_dtype": "bfloat16"},
}


@dataclass(frozen=True, slots=True)
class Line:
    """A measured change; the gain is in the protocol's primary measure on the test."""

    name: str
    changes: dict[str, Any]
    row: Row
    gain: float
    train_seconds: float  # the mean over seeds


def parse_names(text: str) -> list[str]:
    """`NAME,NAME` or `all` → names. ValueError: an unknown one."""
    names = list(CHANGES) if text == "all" else text.split(",")
    unknown = [name for name in names if name not in CHANGES]
    if unknown:
        raise ValueError(
            f"--ablate: unknown {', '.join(unknown)}; expected all, or some of {', '.join(CHANGES)}"
        )
    return names


def ablate(
    protocol: Protocol,
    base: dict[str, Any],
    names: Sequence[str],
    seeds: Sequence[int],
    say: Callable[[str], None],
) -> list[Line]:
    """The base, then each change, for the same seeds; the untrained rows are left out."""
    lines: list[Line] = []
    for name in (BASE, *names):
        changes = CHANGES.get(name, {})
        say(f"{name}: {changes or 'as configured'}")
        config, training = configure(protocol.interactions.num_items, {**base, **changes})
        result = run(protocol, config, training, seeds, untrained=False, say=say)
        lines.append(_line(name, changes, result, lines))
        say(f"{name}: {protocol.primary} {lines[-1].gain:+.4f}")
    return lines


def as_text(lines: Sequence[Line]) -> str:
    """One line a change: the protocol's measures, the gain of the primary, the time."""
    names = list(lines[0].row.mean)[:2]
    header = "".join(f"{name:>20}" for name in names)
    rows = [f"{'':<24}{header}{'gain':>10}{'seconds':>10}"]
    for line in lines:
        mean, spread = line.row.mean, line.row.spread
        cells = (f"{mean[n]:.4f}" + (f" ± {spread[n]:.4f}" if spread else "") for n in names)
        rows.append(
            f"{line.name:<24}{''.join(f'{cell:>20}' for cell in cells)}"
            f"{line.gain:>+10.4f}{line.train_seconds:>10.0f}"
        )
    return "\n".join(rows)


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [
        {
            "name": line.name,
            "changes": line.changes,
            "metrics": line.row.mean,
            "spread": line.row.spread,
            "gain": line.gain,
            "train_seconds": round(line.train_seconds, 3),
        }
        for line in lines
    ]


def _line(name: str, changes: dict[str, Any], result: Result, before: Sequence[Line]) -> Line:
    row, primary = result.rows[-1], result.protocol.primary
    base = before[0].row if before else row
    seconds = float(np.mean([trained.fit.train_seconds for trained in result.trained]))
    return Line(name, changes, row, row.mean[primary] - base.mean[primary], seconds)
