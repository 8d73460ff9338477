"""Ranker batches: no leakage, deterministic, resumable, every target exactly once an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.data.batches import RankerBatches
from phoenix.data.impressions import Impressions

SNOWFLAKE = 2054275414225846272  # made at 1778612400000 ms


def batches(impressions, **options):
    return RankerBatches(
        impressions,
        **{"history_length": 4, "candidates": 3, "batch_size": 5, "seed": 1, **options},
    )


def oracle_history(impressions, viewer, at_ms, length, include_all):
    """Plain Python: events complete strictly before the time, newest last."""
    found = []
    for row in range(len(impressions)):
        dwell = impressions.dwell_seconds[row]
        is_event = include_all or impressions.labels[row].any() or not np.isnan(dwell)
        if (
            impressions.viewer_ids[row] == viewer
            and impressions.in_history[row]
            and is_event
            and impressions.impressed_at_ms[row] < at_ms
            and impressions.known_at_ms[row] < at_ms
        ):
            found.append(row)
    return found[-length:]


@given(seed=st.integers(0, 10_000), include_all=st.booleans(), length=st.integers(1, 12))
@settings(max_examples=40)
def test_histories_equal_the_oracle(make_impressions, seed, include_all, length):
    """A history that holds the outcome it should predict makes offline figures worthless."""
    impressions = make_impressions(seed)
    made = batches(impressions, history_length=length, include_all=include_all)
    for batch in made.one_pass():
        for b in np.flatnonzero(batch.viewer_ids):
            at_ms = impressions.impressed_at_ms[batch.rows[b, 0]]
            rows = oracle_history(impressions, batch.viewer_ids[b], at_ms, length, include_all)
            mask = batch.history_mask[b]
            assert mask.tolist() == [False] * (length - len(rows)) + [True] * len(rows)
            np.testing.assert_array_equal(
                batch.history_post_ids[b, mask], impressions.post_ids[rows]
            )
            np.testing.assert_array_equal(batch.history_actions[b, mask], impressions.labels[rows])
            ages = (at_ms - impressions.impressed_at_ms[rows]) / 1000
            np.testing.assert_array_equal(batch.history_age_seconds[b, mask], ages)
            dwell = np.nan_to_num(impressions.dwell_seconds[rows])
            np.testing.assert_array_equal(batch.history_dwell_seconds[b, mask], dwell)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
def test_outcomes_at_or_after_the_context_change_no_input(make_impressions, seed):
    """Flipping every outcome that is not yet known must leave what the model sees alone."""
    impressions = make_impressions(seed)
    cut_ms = 1_015_000
    late = impressions.known_at_ms >= cut_ms
    flipped = impressions.replace(
        labels=np.where(late[:, None], 1 - impressions.labels, impressions.labels),
    )
    # `include_all` keeps the set of events, whose outcomes alone were flipped.
    before = batches(impressions, include_all=True)
    after = batches(flipped, include_all=True)
    for one, two in zip(before.one_pass(), after.one_pass(), strict=True):
        early = impressions.impressed_at_ms[one.rows[:, 0]] <= cut_ms
        np.testing.assert_array_equal(one.history_actions[early], two.history_actions[early])


@given(seed=st.integers(0, 10_000), candidates=st.integers(1, 5))
@settings(max_examples=20)
def test_every_target_is_trained_on_once_an_epoch(make_impressions, seed, candidates):
    """A row lost or doubled at a context's edge would bias the training data."""
    impressions = make_impressions(seed)
    made = batches(impressions, candidates=candidates, context_gap_ms=3_000)
    given_batches = [made.next_batch() for _ in range(made.batches_per_epoch)]
    rows = np.concatenate([b.rows[b.candidate_mask] for b in given_batches])
    assert sorted(rows) == np.flatnonzero(impressions.weight > 0).tolist()
    for batch in given_batches:
        np.testing.assert_array_equal(batch.candidate_mask, batch.rows >= 0)
        at = batch.rows[batch.candidate_mask]
        viewers = np.broadcast_to(batch.viewer_ids[:, None], batch.rows.shape)
        chosen = viewers[batch.candidate_mask]
        np.testing.assert_array_equal(chosen, impressions.viewer_ids[at])
        np.testing.assert_array_equal(
            batch.candidate_post_ids[batch.candidate_mask], impressions.post_ids[at]
        )
        np.testing.assert_array_equal(batch.labels[batch.candidate_mask], impressions.labels[at])
        assert not batch.labels[~batch.candidate_mask].any()


def test_a_long_pause_starts_a_new_context(make_impressions):
    """Candidates seen the next day must not be scored with yesterday's history."""
    impressions = Impressions(
        viewer_ids=[1, 1, 1],
        post_ids=[1, 2, 3],
        author_ids=[1, 1, 1],
        impressed_at_ms=[1_000, 2_000, 700_000],
        product_surface=[0, 0, 0],
        labels=np.zeros((3, 1)),
        dwell_seconds=[np.nan] * 3,
        action_names=("favorite",),
        weight=[1, 1, 1],
    )
    (batch,) = batches(impressions).one_pass()
    np.testing.assert_array_equal(batch.candidate_post_ids[:2], [[1, 2, 0], [3, 0, 0]])


def same(one, two):
    pairs = [(getattr(one, n), getattr(two, n)) for n in one.__dataclass_fields__]
    return all(a is b if a is None else np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_resumed_batches_are_those_never_interrupted(make_impressions):
    """A resumed training run must end with the same parameters."""
    impressions = make_impressions(3)
    whole, resumed = batches(impressions), batches(impressions)
    for _ in range(13):
        whole.next_batch()
    resumed.load_state_dict(whole.state_dict())
    assert whole.epoch > 0
    assert all(same(whole.next_batch(), resumed.next_batch()) for _ in range(20))


def test_seeds_and_epochs_shuffle_differently(make_impressions):
    """An order that repeats trains worse; one that changes by itself cannot be resumed."""
    impressions = make_impressions(3)
    first, again, other = (batches(impressions, seed=s) for s in (1, 1, 2))
    epoch = [first.next_batch() for _ in range(first.batches_per_epoch)]
    assert all(same(batch, again.next_batch()) for batch in epoch)
    assert not all(same(batch, other.next_batch()) for batch in epoch)
    assert not all(same(batch, first.next_batch()) for batch in epoch)


def test_resuming_on_other_data_is_refused(make_impressions):
    """Silently going on with another data set would train on a mix."""
    state = batches(make_impressions(3)).state_dict()
    with pytest.raises(ValueError, match=r"cannot resume.*count"):
        batches(make_impressions(3, rows=30)).load_state_dict(state)


def test_nothing_to_train_on_is_said(make_impressions):
    """An empty data set must not train on nothing."""
    with pytest.raises(ValueError, match="nothing to train on"):
        batches(make_impressions(0, weight=np.zeros(60)))


def test_ages_come_from_snowflakes():
    """A post's freshness is a feature; an id without time must not look fresh."""
    made_ms = 1_778_612_400_000
    impressions = Impressions(
        viewer_ids=[1, 1],
        post_ids=[SNOWFLAKE, 5],
        author_ids=[1, 1],
        impressed_at_ms=[made_ms + 60_000] * 2,
        product_surface=[0, 0],
        labels=np.zeros((2, 1)),
        dwell_seconds=[np.nan] * 2,
        action_names=("favorite",),
        weight=[1, 1],
    )
    (batch,) = batches(impressions).one_pass()
    assert batch.candidate_age_seconds[0].tolist() == [60.0, -1.0, -1.0]


def test_history_without_times_has_order_but_no_age():
    """Sets that know the order alone still give histories; their age must read as unknown."""
    impressions = Impressions(
        viewer_ids=[1, 1, 1],
        post_ids=[8, 9, 10],
        author_ids=[1, 1, 1],
        impressed_at_ms=[-2, -1, 1_000],
        product_surface=[0, 0, 0],
        labels=np.ones((3, 1)),
        dwell_seconds=[np.nan] * 3,
        action_names=("favorite",),
        weight=[0, 0, 1],
    )
    (batch,) = batches(impressions).one_pass()
    assert batch.history_post_ids[0].tolist() == [0, 0, 8, 9]
    assert batch.history_age_seconds[0].tolist() == [0, 0, -1, -1]
