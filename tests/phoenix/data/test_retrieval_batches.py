"""Two-tower batches: positives, negatives and their sampling probabilities."""

import numpy as np
import pytest

from phoenix.data.retrieval_batches import RetrievalBatches


@pytest.fixture
def made(make_impressions):
    return RetrievalBatches(
        make_impressions(5, rows=200), history_length=4, batch_size=16, negatives=10, seed=3
    )


def test_positives_are_engaged_targets_each_once_an_epoch(made):
    """Plain impressions and context rows must not become positives."""
    given = [made.next_batch() for _ in range(made.batches_per_epoch)]
    rows = np.concatenate([b.rows[b.weight > 0] for b in given])
    impressions = made.impressions
    expected = np.flatnonzero((impressions.weight > 0) & impressions.labels.any(axis=1))
    assert sorted(rows) == expected.tolist()
    assert all(len(b.rows) == 16 for b in given)
    for b in given:
        np.testing.assert_array_equal(b.positive_post_ids, impressions.post_ids[b.rows])
        assert not (b.history_age_seconds[b.history_mask] <= 0).any()


def test_log_q_is_the_log_of_each_distribution(made):
    """Wrong corrections make retrieval favour or starve popular posts."""
    impressions = made.impressions
    positives = (impressions.weight > 0) & impressions.labels.any(axis=1)
    batch = made.next_batch()
    posts = impressions.post_ids[positives]
    shares = [np.mean(posts == post) for post in batch.positive_post_ids]
    np.testing.assert_allclose(batch.positive_log_q, np.log(shares), rtol=1e-6)
    corpus = np.unique(impressions.post_ids)
    np.testing.assert_allclose(batch.negative_log_q, -np.log(len(corpus)), rtol=1e-6)
    assert np.isin(batch.negative_post_ids, corpus).all()


def test_resumed_batches_draw_the_same_negatives(made, make_impressions):
    """A resumed run must see the same negatives, too."""
    other = RetrievalBatches(
        make_impressions(5, rows=200), history_length=4, batch_size=16, negatives=10, seed=3
    )
    first = [made.next_batch().negative_post_ids for _ in range(4)]
    assert len({tuple(drawn) for drawn in first}) == 4
    other.load_state_dict(made.state_dict())
    np.testing.assert_array_equal(
        made.next_batch().negative_post_ids, other.next_batch().negative_post_ids
    )


def test_no_positive_is_said(make_impressions):
    """The message must list what was looked for."""
    with pytest.raises(ValueError, match="no impression has weight"):
        RetrievalBatches(
            make_impressions(1, labels=np.zeros((60, 3))),
            history_length=4,
            batch_size=4,
            negatives=4,
        )
