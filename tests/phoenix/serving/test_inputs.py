"""A viewer must look the same to the model in service as it did in training."""

import numpy as np
import pytest

from phoenix.config import ranker_preset
from phoenix.data.history import HistoryReader
from phoenix.data.impressions import Impressions
from phoenix.serving.inputs import (
    BadRequestError,
    build_candidates,
    build_context,
    check_prediction,
    check_retrieval,
    context_time_ms,
    history_of,
)
from phoenix.serving.limits import CANDIDATES_MAX, SEQUENCE_ACTIONS_MAX, TIME_MS_MAX
from protos import phoenix_pb2 as pb
from service_kit.action_list import ACTION_NAMES

CONFIG = ranker_preset("nano")
NOW_MS = 1_795_000_000_000


def as_impressions(sequence):
    """The same events as training reads them from Parquet."""
    events = [event for event in sequence.actions if event.post_id]
    done = [{ACTION_NAMES[action - 1] for action in event.actions} for event in events]
    return Impressions(
        viewer_ids=np.full(len(events), sequence.user_id),
        post_ids=np.array([event.post_id for event in events]),
        author_ids=np.array([event.author_id for event in events]),
        impressed_at_ms=np.array([event.acted_at_ms for event in events]),
        product_surface=np.array([event.product_surface for event in events]),
        labels=np.array([[name in one for name in CONFIG.action_names] for one in done]),
        dwell_seconds=np.array([event.dwell_seconds for event in events]),
        action_names=CONFIG.action_names,
        weight=np.ones(len(events)),
    )


@pytest.mark.parametrize("events", [1, 3, 8, 40])
def test_history_equals_what_training_reads_from_the_same_events(requests, events):
    sequence = requests.sequence(7, events)
    served = history_of(CONFIG, sequence, requests.now_ms, step_ms=1)
    reader = HistoryReader(as_impressions(sequence), CONFIG.history_length)
    trained = reader.read(np.array([7]), np.array([requests.now_ms]))
    for name in vars(trained):
        np.testing.assert_array_equal(getattr(served, name), getattr(trained, name), err_msg=name)


def test_events_from_now_on_and_without_a_post_stay_out_and_order_does_not_matter(requests):
    sequence = requests.sequence(7, 5)
    messy = pb.UserActionSequence(user_id=7)
    messy.actions.extend(reversed(sequence.actions))
    messy.actions.add(post_id=0, acted_at_ms=requests.now_ms - 5)
    messy.actions.add(post_id=9, acted_at_ms=requests.now_ms)
    clean = build_context(CONFIG, sequence, requests.now_ms, 1000)
    assert build_context(CONFIG, messy, requests.now_ms, 1000).digest == clean.digest


def test_pages_within_one_step_share_an_encoding_and_the_next_step_does_not(requests):
    sequence = requests.sequence(7, 5)
    step_ms = 60_000
    start_ms = context_time_ms(requests.now_ms, step_ms)
    first, last, beyond = (
        build_context(CONFIG, sequence, now_ms, step_ms).digest
        for now_ms in (start_ms + 1, start_ms + step_ms, start_ms + step_ms + 1)
    )
    assert first == last != beyond
    assert (history_of(CONFIG, sequence, start_ms, step_ms).history_age_seconds >= 0).all()


def test_a_dwell_that_is_no_number_counts_as_unknown():
    sequence = pb.UserActionSequence(user_id=1)
    for seconds in (float("nan"), float("inf"), -3.0):
        sequence.actions.add(post_id=5, acted_at_ms=NOW_MS - 9, dwell_seconds=seconds)
    history = history_of(CONFIG, sequence, NOW_MS, 1)
    assert history.history_dwell_seconds.sum() == 0


def test_candidates_carry_the_age_that_their_id_tells(requests):
    candidates = [*requests.candidates([10]), pb.CandidatePost(post_id=77)]
    inputs = build_candidates(CONFIG, candidates, 1, requests.now_ms)
    assert inputs.age_seconds.tolist() == [[pytest.approx(610.0, abs=0.01), -1.0]]
    empty = build_candidates(CONFIG, [], 1, requests.now_ms)
    assert empty.post_hashes.shape == (1, 0, CONFIG.num_hashes)


@pytest.mark.parametrize("post_id", [0, 1 << 63])
def test_an_impossible_candidate_is_named_by_its_place(post_id):
    candidates = [pb.CandidatePost(post_id=5), pb.CandidatePost(post_id=post_id)]
    with pytest.raises(BadRequestError, match=rf"candidates\[1\].post_id is {post_id}"):
        build_candidates(CONFIG, candidates, 1, NOW_MS)


def test_limits_say_what_came_and_what_is_taken():
    many = pb.PredictNextActionsRequest(candidates=[pb.CandidatePost()] * (CANDIDATES_MAX + 1))
    with pytest.raises(BadRequestError, match="candidates: 2801 given, at most 2800"):
        check_prediction(many)
    long = pb.UserActionSequence(actions=[pb.AggregatedAction()] * (SEQUENCE_ACTIONS_MAX + 1))
    with pytest.raises(BadRequestError, match=r"sequence\.actions: 16385 given"):
        check_retrieval(pb.RetrieveRequest(sequence=long))
    with pytest.raises(BadRequestError, match="max_results: 10001 given, at most 10000"):
        check_retrieval(pb.RetrieveRequest(max_results=10_001))
    with pytest.raises(BadRequestError, match="now_ms is -1"):
        check_prediction(pb.PredictNextActionsRequest(now_ms=-1))


@pytest.mark.parametrize("time_ms", [-1, TIME_MS_MAX + 1, (1 << 63) - 1])
def test_a_time_that_no_clock_shows_is_refused_before_it_overflows(time_ms):
    with pytest.raises(BadRequestError, match=f"now_ms is {time_ms}, expected"):
        check_prediction(pb.PredictNextActionsRequest(now_ms=time_ms))
    with pytest.raises(BadRequestError, match=f"now_ms is {time_ms}, expected"):
        check_retrieval(pb.RetrieveRequest(now_ms=time_ms))


def test_the_last_time_that_is_taken_can_be_encoded(requests):
    check_prediction(pb.PredictNextActionsRequest(now_ms=TIME_MS_MAX))
    context = build_context(CONFIG, requests.sequence(7, 3), TIME_MS_MAX, 60_000)
    read = [array for array in context.inputs if array is not None]  # None: the model lacks it
    assert all(np.isfinite(array).all() for array in read)
