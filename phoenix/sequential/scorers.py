"""What scores every item for a history: the model, popularity, and co-occurrence counts.

Glossary: V items, h_k the k-th newest item of a history (k = 1 is the newest).

    popularity           how often an item was taken
    co-occurrence count  Σ_{k ≤ 20} 1/k · C[h_k, item],
                         C[j, i] = Σ 1/gap over pairs of one user with i `gap` ≤ 5 places behind j
    co-occurrence rate   the same with C[j, i] / Σ_i C[j, i]: what follows j, whatever j's count

Nothing in them is fitted. The count is the published untrained baseline of MovieLens-1M (.244
HR@10, .140 NDCG@10); the rate is the stronger of the two there. Where order carries nothing, C
counts the users that took both, k is 1 for all and the rate is the cosine C / √(n_j n_i).
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from phoenix.sequential.batches import batch_lengths, padded
from phoenix.sequential.interactions import Items, Sequences
from phoenix.sequential.model import SequentialModel
from phoenix.sequential.ranking import ROWS, Scorer, Scores

PAIR_WINDOW = 5  # places between the items of a pair
RECENT = 20  # items of a history that are looked up

Matrix = Any  # scipy.sparse.csr_array [V + 1, V + 1]


def model_scorer(model: SequentialModel, params: Any) -> Scorer:
    """Scores by the model, in batches of a few lengths."""
    device_params = jax.device_put(params)
    lengths = batch_lengths(model.config.history_length)

    def score(histories: list[Items]) -> Scores:
        longest = max(len(history) for history in histories)
        length = next((n for n in lengths if n >= longest), lengths[-1])
        scores = model.score_program(device_params, padded(histories, length, ROWS))
        return np.asarray(scores)[: len(histories)]

    return score


def popularity_scorer(sequences: Sequences, num_items: int) -> Scorer:
    counts = np.bincount(sequences.items, minlength=num_items + 1).astype(np.float32)

    def score(histories: list[Items]) -> Scores:
        return np.repeat(counts[None], len(histories), axis=0)

    return score


def cooccurrence_scorers(sequences: Sequences, num_items: int, ordered: bool) -> dict[str, Scorer]:
    """Both co-occurrence rows of the table by name."""
    if not ordered:
        counts = together_counts(sequences, num_items)
        taken = np.bincount(sequences.items, minlength=num_items + 1)
        scale = sparse.diags_array(1.0 / np.sqrt(np.maximum(taken, 1.0)))
        rates = scale @ counts @ scale
    else:
        counts = follow_counts(sequences, num_items)
        rates = sparse.diags_array(1.0 / np.maximum(counts.sum(axis=1), 1e-9)) @ counts
    return {
        "co-occurrence count": _matrix_scorer(counts, ordered),
        "co-occurrence rate": _matrix_scorer(rates, ordered),
    }


def follow_counts(sequences: Sequences, num_items: int, window: int = PAIR_WINDOW) -> Matrix:
    """C[j, i] = Σ 1/gap over pairs of one user, i behind j by gap ≤ window places."""
    user = np.repeat(np.arange(len(sequences)), sequences.lengths)
    total = sparse.csr_array((num_items + 1, num_items + 1))
    for gap in range(1, window + 1):
        same = user[gap:] == user[:-gap]
        pair = sequences.items[:-gap][same], sequences.items[gap:][same]
        total = total + _matrix(np.full(len(pair[0]), 1.0 / gap), pair, num_items)
    return total


def together_counts(sequences: Sequences, num_items: int) -> Matrix:
    """C[j, i] = users that took both; the diagonal is nothing."""
    user = np.repeat(np.arange(len(sequences)), sequences.lengths)
    taken = sparse.csr_array(
        (np.ones(len(user), np.float32), (user, sequences.items)),
        (len(sequences), num_items + 1),
    )
    counts = sparse.csr_array(taken.T @ taken)
    counts = counts - sparse.diags_array(counts.diagonal())
    counts.eliminate_zeros()
    return counts.tocsr()


def _matrix_scorer(matrix: Matrix, ordered: bool) -> Scorer:
    def score(histories: list[Items]) -> Scores:
        rows = [history[-RECENT:][::-1] if ordered else history for history in histories]
        row = np.repeat(np.arange(len(rows)), [len(items) for items in rows])
        near = [1.0 / np.arange(1, len(r) + 1) if ordered else np.ones(len(r)) for r in rows]
        flat = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        weights = sparse.csr_array(
            (np.concatenate(near), (row, flat)), (len(rows), matrix.shape[0])
        )
        dense: Scores = (weights @ matrix).toarray().astype(np.float32)
        return dense

    return score


def _matrix(values: NDArray[np.float64], pair: tuple[Items, Items], num_items: int) -> Matrix:
    """Sums values at (row, column)."""
    matrix = sparse.coo_array((values, pair), (num_items + 1, num_items + 1))
    return matrix.tocsr()
