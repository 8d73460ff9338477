"""Train and write the small checkpoints that the repository carries.

    uv run python -m phoenix.make_demo_checkpoint --log DATA_DIR/log [--out DIR] [--steps 800]

Reads an embedded event log (`foryou demo` writes one), trains both models of the demo preset on
half-size tables, and stores them as float16 beside a sample viewer. At most 5 MB in all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from phoenix import checkpoint as checkpoints
from phoenix.config import ranker_preset, retrieval_preset
from phoenix.data.impressions import Impressions
from phoenix.data.join import impressions_from_log
from phoenix.run_common import SAMPLE_SEQUENCE, SHIPPED
from phoenix.sample import sample_of_log
from phoenix.training import train_ranker, train_retrieval
from phoenix.training_options import (
    ProgressEvent,
    TrainingResult,
    demo_ranker_options,
    demo_retrieval_options,
)

SHIPPED_BYTES_MAX = 5_000_000  # what a clone may be asked to carry
ROWS = {"user_rows": 4_096, "post_rows": 8_192, "author_rows": 4_096}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train the checkpoints that the suite ships.")
    parser.add_argument("--log", type=Path, required=True, help="directory of the event log")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where to write")
    parser.add_argument(
        "--steps", type=int, default=800, help="of the ranker; retrieval takes half"
    )
    arguments = parser.parse_args(argv)
    make(arguments.log, arguments.out, arguments.steps)
    return 0


def make(log_directory: Path, out: Path, steps: int) -> None:
    """Train both models and write them with a sample. ValueError: larger than allowed."""
    impressions = impressions_from_log(log_directory)
    sample = json.dumps(sample_of_log(log_directory), ensure_ascii=False, indent=1)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        ranker = _ranker(impressions, work / "ranker", steps)
        _ship(ranker, out / "ranker")
        start = checkpoints.load(ranker.checkpoint_path).params
        retrieval = _retrieval(impressions, work / "retrieval", steps // 2, start)
        _ship(retrieval, out / "retrieval")
    (out / SAMPLE_SEQUENCE.name).write_text(sample + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > SHIPPED_BYTES_MAX:
        raise ValueError(f"{out} takes {size} bytes, at most {SHIPPED_BYTES_MAX} may be shipped")
    print(f"{out}: {size / 1e6:.1f} MB")


def _ranker(impressions: Impressions, directory: Path, steps: int) -> TrainingResult:
    config = ranker_preset("demo", action_names=impressions.action_names, **ROWS)
    options = demo_ranker_options(steps=steps, keep_state=False)
    return train_ranker(impressions, config, options, directory, progress=_show)


def _retrieval(
    impressions: Impressions, directory: Path, steps: int, start: dict[str, Any]
) -> TrainingResult:
    config = retrieval_preset("demo", action_names=impressions.action_names, **ROWS)
    options = demo_retrieval_options(steps=steps, keep_state=False)
    return train_retrieval(impressions, config, options, directory, start=start, progress=_show)


def _ship(result: TrainingResult, directory: Path) -> None:
    """Store again as float16, as the only version of its directory."""
    trained = checkpoints.load(result.checkpoint_path)
    shutil.rmtree(directory, ignore_errors=True)  # absent the first time
    checkpoints.save(
        directory,
        step=trained.step,
        config=trained.config,
        params=trained.params,
        meta=trained.meta,
        storage_dtype="float16",
    )


def _show(event: ProgressEvent) -> None:
    if event.step % 100 == 0:
        print(f"step {event.step}: loss {event.loss:.3f}, {event.remaining_seconds:.0f} s left")


if __name__ == "__main__":
    raise SystemExit(main())
