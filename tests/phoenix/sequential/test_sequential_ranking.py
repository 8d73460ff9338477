"""Ranks and measures against plain Python, ties included."""

from __future__ import annotations

import math

import numpy as np

from phoenix.sequential.interactions import Sequences
from phoenix.sequential.ranking import best_items, hit_metrics, rank, set_metrics


def _world() -> tuple[np.ndarray, Sequences, Sequences]:
    """Scores of few values, so that ties abound; histories and targets of 40 users."""
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (40, 31)).astype(np.float32)
    histories, targets = [], []
    for user in range(40):
        items = rng.permutation(np.arange(1, 31))
        # One history may be empty: the scorer below tells users apart by their histories.
        histories.append(items[: rng.integers(min(user, 3), 8)].astype(np.int32))
        targets.append(items[10 : 10 + rng.integers(0, 5)].astype(np.int32))
    return scores, Sequences.of(histories), Sequences.of(targets)


def _plain_rank(scores: np.ndarray, seen: set[int], target: int) -> float:
    others = [s for item, s in enumerate(scores) if item and item not in seen and item != target]
    higher = sum(s > scores[target] for s in others)
    same = sum(s == scores[target] for s in others)
    return higher + same / 2


def test_ranks_and_measures_equal_plain_python_with_ties() -> None:
    """A tie counted for the target makes a constant scorer perfect; against it, hopeless."""
    scores, histories, targets = _world()
    lookup = {tuple(h): i for i, h in enumerate(histories)}
    ranking = rank(lambda rows: scores[[lookup[tuple(r)] for r in rows]], histories, targets)
    recall, gains = [], []
    place = 0
    for user in range(40):
        ranks = [
            _plain_rank(scores[user], set(histories[user].tolist()), int(item))
            for item in targets[user]
        ]
        np.testing.assert_array_equal(ranking.ranks[place : place + len(ranks)], ranks)
        place += len(ranks)
        if ranks:
            recall.append(sum(r < 5 for r in ranks) / len(ranks))
            best = sum(1 / math.log2(r + 2) for r in range(min(5, len(ranks))))
            gains.append(sum(1 / math.log2(r + 2) for r in ranks if r < 5) / best)
    measured = set_metrics(ranking, (5,))
    assert math.isclose(measured["Recall@5"], sum(recall) / len(recall), rel_tol=1e-12)
    assert math.isclose(measured["NDCG@5"], sum(gains) / len(gains), rel_tol=1e-12)


def test_hits_count_below_the_cut_alone() -> None:
    """Rank 10 (from 0) is the eleventh item and no hit at 10; half ranks come from ties."""
    measured = hit_metrics(np.array([0.0, 9.5, 10.0, math.inf]), (10,))
    assert measured["HR@10"] == 0.5
    assert math.isclose(measured["NDCG@10"], (1 + 1 / math.log2(11.5)) / 4)


def test_seen_items_and_padding_are_in_nobodys_list() -> None:
    """Recommending what was just watched would be the easiest way to a useless feed."""
    scores, histories, targets = _world()
    lookup = {tuple(h): i for i, h in enumerate(histories)}
    ranking = rank(lambda rows: scores[[lookup[tuple(r)] for r in rows]], histories, targets, 30)
    for user in range(40):
        listed = ranking.top_items[user][ranking.top_items[user] > 0].tolist()
        assert not set(listed) & set(histories[user].tolist())
        assert sorted([*listed, *histories[user]]) == list(range(1, 31))
        values = ranking.top_scores[user][: len(listed)]
        assert (np.diff(values) <= 0).all()


def test_best_items_fill_up_with_nothing_where_there_are_fewer() -> None:
    """A short catalogue must not list padding as an item."""
    items, values = best_items(np.array([[-np.inf, 2.0, -np.inf, 3.0]], np.float32), 6)
    assert items.tolist() == [[3, 1, 0, 0, 0, 0]]
    assert np.isneginf(values[0, 2:]).all()


def test_a_target_that_was_seen_before_is_a_miss() -> None:
    """It is left out of the list that the user would be shown."""
    ranking = rank(
        lambda rows: np.array([[0.0, 5.0, 1.0]]), Sequences.of([[1]]), Sequences.of([[1]])
    )
    assert hit_metrics(ranking.ranks, (10,))["HR@10"] == 0.0
