"""Trains the ranker on KuaiRand-Pure and measures it on later impressions; see README.md here.

Nothing looks at a test row's outcome: it is no training row, its labels are zeros and its play time
unknown wherever the model could see it, and it enters no history. With `online` it enters the
histories of later test rows once it was over (start + play time).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from phoenix.calibration import Calibration
from phoenix.checkpoint import META_FILE, latest, save_calibrated
from phoenix.config import RankerConfig
from phoenix.data.catalogue import Catalogue
from phoenix.data.impressions import Impressions
from phoenix.evaluation.baselines.examples import make_task
from phoenix.evaluation.baselines.suite import BASELINES, check_names, run_baselines
from phoenix.evaluation.kept import write_evaluation
from phoenix.evaluation.kuairand_calibration import (
    at_own_level,
    day_to_fit_on,
    fit_calibration,
)
from phoenix.evaluation.kuairand_data import ACTIONS, OUR_ACTIONS, KuaiRand, Rows, load, load_test
from phoenix.evaluation.kuairand_kept import evaluated_rows
from phoenix.evaluation.kuairand_report import measure
from phoenix.evaluation.kuairand_statics import load_statics, video_catalogue
from phoenix.evaluation.predict import predict_rows
from phoenix.training import train_ranker
from phoenix.training_options import Progress, TrainingOptions

STEPS = 500  # four fifths of a pass; some two minutes on two cores. Chosen on 27 April

# Rows of the training days are one in twenty beside the older part, but they alone know surfaces
# and all actions. `--ablate even-weight` says what it brings.
RECENT_WEIGHT = 8.0


@dataclass(frozen=True, eq=False)
class Split:
    """What may be learned from, and what is asked."""

    train: Rows
    older: Impressions
    test: Rows
    removed_rows: int  # training rows that the test file holds, too
    catalogue: Catalogue | None = None  # what is known of the videos

    @property
    def impressions(self) -> Impressions:
        """Everything that training sees.

        An older row is both a training row and, apart from that, a history event even where the
        viewer did nothing: what was passed over says as much. (0 seconds: shown, dwell unknown.)
        """
        count = len(self.older)
        asked = self.older.replace(in_history=np.zeros(count, dtype=np.bool_))
        seen = self.older.replace(
            weight=np.zeros(count, dtype=np.float32),
            dwell_seconds=np.zeros(count, dtype=np.float32),
        )
        recent = self.train.impressions(weight=RECENT_WEIGHT, in_history=True)
        everything = Impressions.concat([asked, seen, recent])
        return everything.replace(catalogue=self.catalogue)

    @property
    def learned_from(self) -> Impressions:
        """The same, but a day's outcomes are known from the next day on.

        The test day is asked about when nothing of it is known, so training asks in the same way:
        the newest event that a row knows is of the day before, and never of minutes ago.
        """
        days, ends = np.unique(self.train.days), np.zeros(len(self.train), dtype=np.int64)
        starts = [int(self.train.time_ms[self.train.days == day].min()) for day in days]
        starts.append(int(self.test.time_ms.min()) if len(self.test) else starts[-1])
        for day, following in zip(days, starts[1:], strict=True):
            ends[self.train.days == day] = following - 1
        rows = self.train.impressions(weight=RECENT_WEIGHT, in_history=True)
        order = Impressions.sort_order(self.train.user_ids, self.train.time_ms)
        recent = rows.replace(known_at_ms=np.maximum(rows.known_at_ms, ends[order]))
        older = self.impressions
        older = older.take(older.impressed_at_ms < 0)
        return Impressions.concat([older, recent]).replace(catalogue=self.catalogue)


def run(
    data_dir: Path,
    test_file: Path | None = None,
    online: bool = False,
    predictions: Path | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
    config: RankerConfig | None = None,
    checkpoint_dir: Path | None = None,
    validate: bool = False,
    baselines: Sequence[str] = BASELINES,
    calibrate: bool = True,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train, predict, measure; returns a JSON-ready result (nan becomes None).

    `steps` or `seconds` bound the training (default STEPS). `checkpoint_dir` keeps the model and
    what `phoenix.evaluation.kept` says. `validate` leaves the last day out and tests on the day
    before, for choosing settings. `baselines` are fitted on the same rows; `calibrate` trains a
    second time, without the last training day, to fit the maps on it. `told` gets a line a phase.
    ValueError: a missing file or column, or a test file without outcomes for `online`.
    """
    data, statics = load(data_dir), load_statics(data_dir)
    split = replace(
        make_split(data, data_dir, test_file, validate), catalogue=video_catalogue(statics)
    )
    if online and len(split.test.outcomes) < len(ACTIONS):
        raise ValueError("--online needs the test rows' outcomes, which the test file leaves out")
    model = config or default_config()
    options = default_options(seed, steps, seconds)
    seen = split.impressions if online else split.learned_from
    check_names(baselines)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="foryou-kuairand-") as temporary:
        directory = checkpoint_dir or Path(temporary)
        trained = train_ranker(seen, model, options, directory, progress=progress)
        train_seconds = time.monotonic() - started
        raw = predict_test(directory, split, online, calibrated=False)
        fitted = None
        if calibrate:
            told("calibration: training without the last training day")
            fitted = _calibration(split, online, model, options, progress, directory)
        probabilities, version = raw, trained.model_version
        if fitted is not None and (path := latest(directory)) is not None:
            probabilities = fitted[0].probabilities(OUR_ACTIONS, raw)
            calibrated = save_calibrated(path, fitted[0])
            version = json.loads((calibrated / META_FILE).read_text())["model_version"]
    if predictions is not None:
        write_predictions(predictions, split.test, probabilities)
    task = make_task(split.train, split.older, split.test, statics)
    answers = run_baselines(task, tuple(ACTIONS), baselines, seed, told)
    result = measure(
        split.train, split.older, split.test, probabilities, raw=raw, baselines=answers
    )
    result["calibration"] = fitted and fitted[1]
    result["protocol"] = _protocol(split, test_file, online, seed) | {
        "steps": trained.steps,
        "train_seconds": round(train_seconds, 1),
        "total_seconds": round(time.monotonic() - started, 1),
        "model_version": version,
    }
    if checkpoint_dir is not None:
        seen = _with_test_history(split, online)
        rows = evaluated_rows(seen, split.test, statics, probabilities, raw)
        write_evaluation(checkpoint_dir, rows, result)
    return result


def default_config() -> RankerConfig:
    """One layer and narrow rows: with two impressions per user and day, more only overfits.

    The tables hold every id of the set with few collisions.
    """
    return RankerConfig(
        width=64,
        layers=1,
        heads=2,
        kv_heads=2,
        key_size=32,
        history_length=32,
        embedding_width=16,
        user_rows=65_536,
        post_rows=32_768,
        author_rows=16_384,
        action_names=OUR_ACTIONS,
        profile_channels=0,  # beside past rates and history it only overfits (docs/ranking.md)
        tag_rows=512,
        durations=True,
        time_of_day=True,
        rates=True,
        wide_action="video_quality_view",  # the set's long_view, which most rows tell
    )


def default_options(seed: int, steps: int | None, seconds: float | None) -> TrainingOptions:
    """Everything that matters is spelled out: the demo's defaults suit another world."""
    if steps is None and seconds is None:
        steps = STEPS
    return TrainingOptions(
        steps=steps,
        seconds=seconds,
        batch_size=256,
        candidates=8,
        learning_rate=3e-3,
        table_learning_rate=0.03,
        dwell_weight=0.1,
        average_decay=0.99,  # the level of a head no longer moves with the last batches
        post_dropout=0.0,  # the test day's videos and viewers are those of the days before
        user_dropout=0.0,
        seed=seed,
        keep_state=False,
    )


def make_split(
    data: KuaiRand, data_dir: Path, test_file: Path | None, validate: bool = False
) -> Split:
    """Last day against the days before, or the test file against all rows that it does not hold.

    `validate`: as if the last day had not been yet.
    """
    if validate:
        known = data.rows.days < data.rows.days.max(initial=0)
        data = replace(data, rows=data.rows.take(known))
    if test_file is not None:
        test = load_test(test_file, data.authors)
        mine = ~_in(data.rows, test)
        return Split(data.rows.take(mine), data.older, test, int((~mine).sum()))
    days = data.rows.days
    last = days == days.max(initial=0)
    if last.all():
        raise ValueError(
            f"{data_dir} holds one day only: nothing is left to train on before the last day; "
            "give the test rows as a file of their own"
        )
    return Split(data.rows.take(~last), data.older, data.rows.take(last), 0)


def _calibration(
    split: Split,
    online: bool,
    model: RankerConfig,
    options: TrainingOptions,
    progress: Progress | None,
    trained: Path,
) -> tuple[Calibration, dict[str, Any]] | None:
    """None where the training days are too few; see `phoenix.evaluation.kuairand_calibration`."""
    last = day_to_fit_on(split.train)
    if last is None:
        return None
    earlier = replace(split, train=split.train.take(~last), test=split.train.take(last))
    seen = earlier.impressions if online else earlier.learned_from
    with tempfile.TemporaryDirectory(prefix="foryou-kuairand-") as temporary:
        directory = Path(temporary)
        train_ranker(seen, model, options, directory, progress=progress)
        maps, chosen = fit_calibration(
            earlier.test,
            lambda: predict_test(directory, earlier, online, calibrated=False),
            options.seed,
        )
    of_trained = predict_test(trained, earlier, online, calibrated=False)
    return at_own_level(maps, earlier.test, of_trained), chosen


def predict_test(
    checkpoint_dir: Path, split: Split, online: bool, *, calibrated: bool = True
) -> NDArray[np.float64]:
    """Probabilities [N, A] of the test rows in their file's order; see `online` at the top."""
    if online and len(split.test.outcomes) < len(ACTIONS):
        raise ValueError("--online needs the test rows' outcomes, which the test file leaves out")
    rows = split.test.impressions(weight=1.0, in_history=online, outcomes=online)
    probabilities = predict_rows(checkpoint_dir, split.impressions, rows, calibrated=calibrated)
    in_file_order = np.empty_like(probabilities)
    order = Impressions.sort_order(split.test.user_ids, split.test.time_ms)
    in_file_order[order] = probabilities
    return in_file_order


def _with_test_history(split: Split, online: bool) -> Impressions:
    """Everything that may stand in a test row's history."""
    if not online:
        return split.impressions
    test = split.test.impressions(weight=1.0, in_history=True)
    return Impressions.concat([split.impressions, test])


def write_predictions(path: Path, test: Rows, probabilities: NDArray[np.float64]) -> None:
    """One row a test row, in the test file's order: user_id, video_id, time_ms, p_<action>."""
    columns: dict[str, NDArray[Any]] = {
        "user_id": test.user_ids,
        "video_id": test.video_ids,
        "time_ms": test.time_ms,
    }
    for index, name in enumerate(ACTIONS):
        columns[f"p_{name}"] = probabilities[:, index]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _in(rows: Rows, test: Rows) -> NDArray[np.bool_]:
    """Which rows the test file holds, too (same user, video and time)."""

    def keys(of: Rows) -> NDArray[np.void]:
        stacked = np.stack([of.user_ids, of.video_ids, of.time_ms], axis=1)
        return np.ascontiguousarray(stacked).view("V24").ravel()

    return np.isin(keys(rows), keys(test))


def _protocol(split: Split, test_file: Path | None, online: bool, seed: int) -> dict[str, Any]:
    return {
        "test": "last day" if test_file is None else test_file.name,
        "online": online,
        "seed": seed,
        "training_rows": len(split.train),
        "older_rows": len(split.older),
        "removed_training_rows": split.removed_rows,
        "test_rows": len(split.test),
        "test_users": len(np.unique(split.test.user_ids)),
    }
