"""A trained ranker's probabilities for impressions, row by row.

Each row is its own context: its history is everything marked as history strictly before its time.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from phoenix.checkpoint import load_ranker
from phoenix.data.batches import RankerBatches
from phoenix.data.impressions import Impressions
from phoenix.features import ranker_inputs
from phoenix.ranker import Ranker

BATCH_SIZE = 256  # contexts of one candidate; the time per row is flat from here on


def predict_rows(
    checkpoint_dir: Path, context: Impressions, rows: Impressions, *, calibrated: bool = True
) -> NDArray[np.float64]:
    """Probabilities [N, A] of `rows` in their order there; `context` gives histories only.

    `rows` enter one another's histories where their `in_history` is set. `calibrated`: as serving
    answers; else as the model's heads give them.
    """
    config, checkpoint = load_ranker(checkpoint_dir)
    ranker = Ranker(config)
    predict = jax.jit(lambda params, *inputs: ranker.predict(params, *inputs).log_probs)
    wanted = rows.replace(weight=np.ones(len(rows), dtype=np.float32))
    silent = context.replace(weight=np.zeros(len(context), dtype=np.float32))
    combined = Impressions.concat([silent, wanted])
    # Sorting is stable, so the k-th target of the combined rows is the k-th of `rows`.
    number = np.cumsum(combined.weight > 0) - 1
    batches = RankerBatches(
        combined, history_length=config.history_length, candidates=1, batch_size=BATCH_SIZE
    )
    probabilities = np.zeros((len(rows), config.num_actions))
    for batch in batches.one_pass():
        log_probs = np.asarray(predict(checkpoint.params, *ranker_inputs(config, batch)))
        mask = batch.candidate_mask
        probabilities[number[batch.rows[mask]]] = np.exp(log_probs[mask].astype(np.float64))
    if not calibrated:
        return probabilities
    return checkpoint.calibration.probabilities(config.action_names, probabilities)
