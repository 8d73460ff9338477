"""Run by the tests of the mesh, not imported: prints loss curves and what was compiled, as JSON.

python curve_program.py PARQUET ranker|retrieval STEPS DEVICES:MODEL_DEVICES …
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phoenix.config import ranker_preset, retrieval_preset
from phoenix.data.impressions import Impressions
from phoenix.mesh import Layout
from phoenix.tasks import RankerTask, RetrievalTask
from phoenix.train_step import Step, StepInputs, init_state
from phoenix.training_options import TrainingOptions

GATHERED = re.compile(r"= \w+\[([\d,]*)\][^=]*? all-gather(?:-start)?\(")


def task_of(kind: str, impressions: Impressions, options: TrainingOptions) -> Any:
    names = impressions.action_names
    # 130 rows: eight devices do not divide them, so that tables are padded.
    if kind == "ranker":
        config = ranker_preset("nano", action_names=names, post_rows=130)
        return RankerTask.of(impressions, replace(config, layers=1), options)
    retrieval = retrieval_preset("nano", action_names=names, post_rows=130)
    return RetrievalTask.of(impressions, replace(retrieval, layers=1), options)


def curve(kind: str, impressions: Impressions, steps: int, layout: Layout) -> dict[str, Any]:
    options = TrainingOptions(
        steps=steps,
        batch_size=16,
        candidates=4,
        uniform_negatives=16,
        positive_actions=("favorite",),
    )
    task = task_of(kind, impressions, options)
    params = task.init(0)
    state, step = init_state(params, options, layout), Step(task, options, layout, params["dense"])
    losses = []
    for number in range(steps):
        inputs = task.inputs(task.batches.next_batch(), np.random.default_rng([0, number]))
        batch = StepInputs(layout.place_batch(inputs), {})
        if not number:
            text = step.lower(state, batch, np.float32(0.01), np.float32(0.05)).compile().as_text()
        state, report = step(state, batch, np.float32(0.01), np.float32(0.05))
        losses.append(float(report.loss))
    table = state.params["tables"]["post"]
    return {
        "losses": losses,
        "parts": [list(shard.data.shape) for shard in table.addressable_shards],
        "accumulator_parts": [
            list(shard.data.shape) for shard in state.accumulators["post"].addressable_shards
        ],
        "gathered": sorted(set(GATHERED.findall(text))),
    }


if __name__ == "__main__":
    path, kind, steps, *layouts = sys.argv[1:]
    impressions = Impressions.read_parquet(Path(path))
    print(
        json.dumps(
            {
                name: curve(kind, impressions, int(steps), Layout.of(*map(int, name.split(":"))))
                for name in layouts
            }
        )
    )
