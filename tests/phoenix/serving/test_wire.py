"""The promises of phoenix over gRPC, kept by a real process."""

import asyncio
import math
from itertools import pairwise

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos import events_pb2, phoenix_pb2_grpc
from protos import phoenix_pb2 as pb
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.event_log import TOPIC_POSTS, event_key

pytestmark = pytest.mark.e2e

PREDICTION = "foryou.phoenix.v1.PredictionService"
RETRIEVAL = "foryou.phoenix.v1.RetrievalService"
PROBABILITY_DIFFERENCE_MAX = 1e-5  # float32, the service's promise
POSTS = 30
CALL_SECONDS_MAX = 30  # a hang fails the test; a slow machine does not


def append(data_dir, now_ms, *events):
    writer = EmbeddedLogWriter(data_dir / "log")
    values = [events_pb2.PostEvent(**event).SerializeToString() for event in events]
    writer.append_many_sync(TOPIC_POSTS, [(event_key(1), value, now_ms) for value in values])
    writer.close_sync()


def creation(requests, number):
    return {"create": {"post_id": requests.post_id(number), "author_id": 1 + number % 5}}


@pytest.fixture(scope="module")
def phoenix(start_phoenix, checkpoints, requests, tmp_path_factory):
    """Both models and a corpus of thirty posts, serving."""
    data_dir = tmp_path_factory.mktemp("wire")
    checkpoints.save_ranker(data_dir / "checkpoints" / "ranker")
    checkpoints.save_retrieval(data_dir / "checkpoints" / "retrieval")
    append(data_dir, requests.now_ms, *(creation(requests, number) for number in range(POSTS)))
    # The tests' posts are of a fixed day, so the window must reach back to it on any later day.
    process = start_phoenix(data_dir, index_retention_hours=24 * 3650)
    process.wait_health("", "SERVING")
    return process


@pytest.fixture(scope="module")
def channel(phoenix):
    with grpc.insecure_channel(phoenix.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def predict(channel):
    stub = phoenix_pb2_grpc.PredictionServiceStub(channel)
    return lambda request: stub.PredictNextActions(request, timeout=CALL_SECONDS_MAX)


@pytest.fixture(scope="module")
def retrieve(channel):
    stub = phoenix_pb2_grpc.RetrievalServiceStub(channel)
    return lambda **fields: stub.Retrieve(pb.RetrieveRequest(**fields), timeout=CALL_SECONDS_MAX)


def probabilities(response):
    """[C, A]"""
    return np.exp(np.array(response.log_probs)).reshape(-1, len(response.actions))


@pytest.fixture(scope="module")
def whole(predict, requests):
    """One viewer's two hundred candidates in one request: what every other way must equal."""
    response = predict(requests.prediction(7, range(200)))
    return probabilities(response), np.array(response.dwell_seconds)


@settings(max_examples=40)
@given(
    numbers=st.lists(st.integers(0, 199), min_size=1, max_size=260),
    cuts=st.lists(st.integers(1, 259), max_size=4),
    others=st.lists(st.integers(8, 12), max_size=5),
)
def test_a_score_depends_on_viewer_and_candidate_alone(
    predict, requests, whole, channel, numbers, cuts, others
):
    """Any subset, order, repetition and chunking, with other viewers' requests in flight."""
    stub = phoenix_pb2_grpc.PredictionServiceStub(channel)
    company = [
        stub.PredictNextActions.future(
            requests.prediction(other, range(other)), timeout=CALL_SECONDS_MAX
        )
        for other in others
    ]
    edges = sorted({0, len(numbers), *(cut for cut in cuts if cut < len(numbers))})
    chunks = [numbers[a:b] for a, b in pairwise(edges)]
    calls = [
        stub.PredictNextActions.future(requests.prediction(7, chunk), timeout=CALL_SECONDS_MAX)
        for chunk in chunks
    ]
    answers = [call.result() for call in calls]
    found = np.concatenate([probabilities(answer) for answer in answers])
    dwell = np.concatenate([np.array(answer.dwell_seconds) for answer in answers])
    assert np.abs(found - whole[0][numbers]).max() < PROBABILITY_DIFFERENCE_MAX
    np.testing.assert_allclose(dwell, whole[1][numbers], rtol=1e-4)
    for call in company:
        call.result()


def test_scores_tell_viewers_and_candidates_apart(predict, requests, whole):
    """Without this the property above would hold for a model that says nothing."""
    assert whole[0].std(axis=0).max() > 0.01
    other = probabilities(predict(requests.prediction(8, range(200))))
    assert np.abs(other - whole[0]).max() > 0.01
    assert ((whole[0] >= 0) & (whole[0] <= 1)).all()
    assert (whole[1] >= 0).all()


def test_the_largest_request_and_the_empty_one_are_answered(predict, requests, whole):
    response = predict(requests.prediction(7, [n % 200 for n in range(2800)]))
    found = probabilities(response)
    assert np.abs(found - whole[0][np.arange(2800) % 200]).max() < PROBABILITY_DIFFERENCE_MAX
    empty = predict(requests.prediction(7, []))
    assert len(empty.log_probs) == len(empty.dwell_seconds) == 0
    assert len(empty.actions) == 18


def test_viewers_and_posts_that_nobody_knows_are_answered(predict, requests):
    request = requests.prediction((1 << 64) - 1, [], sequence=pb.UserActionSequence())
    request.candidates.add(post_id=1, author_id=(1 << 64) - 1)
    assert np.isfinite(probabilities(predict(request))).all()


def test_two_answers_have_two_prediction_ids(predict, requests):
    ids = {predict(requests.prediction(7, [1])).prediction_request_id for _ in range(3)}
    assert len(ids) == 3


def test_past_a_limit_the_caller_learns_which(predict, retrieve, requests):
    with pytest.raises(grpc.RpcError) as caught:
        predict(requests.prediction(7, range(2801)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "candidates: 2801 given, at most 2800" in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        retrieve(max_results=10_001)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_retrieval_answers_the_whole_corpus_best_first(retrieve, requests):
    response = retrieve(sequence=requests.sequence(7), now_ms=requests.now_ms)
    scores = [post.score for post in response.posts]
    assert {post.post_id for post in response.posts} >= {requests.post_id(n) for n in range(POSTS)}
    assert scores == sorted(scores, reverse=True)
    assert all(-1.0001 <= score <= 1.0001 for score in scores)
    few = retrieve(sequence=requests.sequence(7), now_ms=requests.now_ms, max_results=4)
    assert [p.post_id for p in few.posts] == [p.post_id for p in response.posts[:4]]
    assert few.index_size == len(response.posts)


def test_retrieval_leaves_out_what_the_caller_does_not_want(retrieve, requests):
    sequence = requests.sequence(3)  # viewer 3 is also the author of every fifth post
    sequence.actions[0].post_id = requests.post_id(20)
    response = retrieve(
        sequence=sequence,
        now_ms=requests.now_ms,
        exclude_post_ids=[requests.post_id(1)],
        exclude_author_ids=[5],
        exclude_history=True,
        exclude_own=True,
        posts_after_ms=requests.now_ms - 25 * 61_000,
    )
    answered = {post.post_id for post in response.posts}
    history = {action.post_id for action in sequence.actions}
    wanted = [n for n in range(26) if n not in (1, 20) and 1 + n % 5 not in (3, 5)]
    assert answered == {requests.post_id(n) for n in wanted} - history


def test_a_new_post_is_found_and_a_deleted_one_is_gone_while_serving(phoenix, retrieve, requests):
    def answered():
        found = retrieve(sequence=requests.sequence(7), now_ms=requests.now_ms)
        return {post.post_id for post in found.posts}

    added = requests.post_id(300)
    append(phoenix.data_dir, requests.now_ms, creation(requests, 300))
    phoenix.wait_until(lambda _: added in answered())
    delete = {"delete": {"post_id": added, "deleted_at_ms": requests.now_ms}}
    append(phoenix.data_dir, requests.now_ms, delete)
    phoenix.wait_until(lambda _: added not in answered())


def test_the_canary_of_the_running_service_sees_rounding_only(phoenix, predict, requests):
    predict(requests.prediction(7, range(100)))
    samples = phoenix.wait_until(lambda found: found["foryou_phoenix_canary_checks_total"] > 0)
    assert samples["foryou_phoenix_canary_difference_max"] < PROBABILITY_DIFFERENCE_MAX


def test_requests_of_many_viewers_share_calls(phoenix, channel, requests):
    stub = phoenix_pb2_grpc.PredictionServiceStub(channel)
    merged = 'foryou_phoenix_program_calls_total{program="score_merged"}'

    def storm(samples):
        calls = [
            stub.PredictNextActions.future(requests.prediction(viewer, [1, 2]))
            for viewer in range(100, 130)
        ]
        for call in calls:
            call.result(CALL_SECONDS_MAX)
        return samples.get(merged, 0) > 0

    phoenix.wait_until(storm)


async def test_models_come_go_bad_and_get_replaced_without_a_dropped_request(
    start_phoenix, checkpoints, requests, tmp_path
):
    process = start_phoenix(tmp_path)
    async with grpc.aio.insecure_channel(process.address) as channel:
        stub = phoenix_pb2_grpc.PredictionServiceStub(channel)
        await expect_no_model(stub, channel, requests)
        first = checkpoints.save_ranker(tmp_path / "checkpoints" / "ranker", seed=1)
        await asyncio.to_thread(process.wait_health, PREDICTION, "SERVING")
        seen, done = [], asyncio.Event()
        callers = [asyncio.create_task(call(stub, requests, v, seen, done)) for v in range(4)]
        await reload_twice(process, checkpoints, tmp_path)
        done.set()
        await asyncio.gather(*callers)  # a dropped request would raise here
    assert {version.split("-")[1] for version in seen} == {"1", "3"}
    assert first.exists()
    code, errors = await asyncio.to_thread(process.stop)
    assert code == 0, errors
    assert "not finite" in errors


async def expect_no_model(stub, channel, requests):
    retrieval = phoenix_pb2_grpc.RetrievalServiceStub(channel)
    for call_ in (
        stub.PredictNextActions(requests.prediction(1, [1]), timeout=CALL_SECONDS_MAX),
        retrieval.Retrieve(pb.RetrieveRequest(), timeout=CALL_SECONDS_MAX),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call_
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def call(stub, requests, viewer, seen, done):
    """Calls until told to stop, then once more; every answer must be whole and of one model."""
    last = False
    while not last:
        last = done.is_set()
        request = requests.prediction(viewer, range(20))
        response = await stub.PredictNextActions(request, timeout=CALL_SECONDS_MAX)
        assert len(response.log_probs) == 20 * len(response.actions)
        assert math.isfinite(sum(response.log_probs))
        seen.append(response.model_version)


async def reload_twice(process, checkpoints, tmp_path):
    """A checkpoint of NaN, which must be refused, then a good one, which must serve."""
    bad = checkpoints.ranker_params(2)
    bad["dense"]["ranker"]["head_bias"][...] = np.nan
    directory = tmp_path / "checkpoints" / "ranker"
    await asyncio.to_thread(checkpoints.save_ranker, directory, 2, bad)
    refused = 'foryou_phoenix_reloads_refused_total{model="ranker",reason="ModelRefusedError"}'
    await asyncio.to_thread(process.wait_until, lambda found: found.get(refused) == 1)
    await asyncio.to_thread(checkpoints.save_ranker, directory, 3)
    taken = 'foryou_phoenix_reloads_total{model="ranker"}'
    await asyncio.to_thread(process.wait_until, lambda found: found[taken] == 2)
