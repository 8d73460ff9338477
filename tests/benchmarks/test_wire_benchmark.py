"""A benchmark of the wire whose contestants answer differently, or lose a call, is void."""

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from benchmarks import wire
from benchmarks.harness import Report
from benchmarks.wire import codec
from benchmarks.wire.calls import Server, check_same_answers
from benchmarks.wire.http2_load import CallFailedError, ask_all
from benchmarks.wire.server import KINDS, METHOD
from protos import thunder_pb2


def measured(*arguments: str) -> Report:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    wire.add_arguments(parser)
    return wire.measure(parser.parse_args(["--quick", *arguments]))


def answer_of(*post_ids: int) -> bytes:
    posts = [thunder_pb2.LightPost(post_id=post_id) for post_id in post_ids]
    return thunder_pb2.GetInNetworkPostsResponse(posts=posts).SerializeToString()


@pytest.mark.e2e
def test_every_server_gives_the_same_answers() -> None:
    """`measure` compares them before timing, and every answer under load again."""
    report = measured()
    assert set(report.timings["calls, 1 in flight"]) == set(KINDS)
    assert set(report.figures["calls a second of one core"]) == set(KINDS)
    assert [line.what for line in report.lines] == [
        "answer of 1,200 posts: message objects / kernel"
    ], "calls a second are promised at 1,000 follows alone"


def test_without_servers_the_codec_alone_is_measured() -> None:
    report = measured("--servers")
    assert list(report.timings) == ["answer of 1,200 posts"]
    assert set(report.timings["answer of 1,200 posts"]) == {
        codec.WRITE_OURS,
        codec.WRITE_PEER,
        codec.READ_OURS,
        codec.READ_PEER,
    }


def test_a_peer_with_another_answer_is_refused() -> None:
    ours, theirs = {b"request": answer_of(2, 1)}, {b"request": answer_of(1, 2)}
    check_same_answers("peer", ours, dict(ours))
    with pytest.raises(AssertionError, match="peer answers request 0 differently"):
        check_same_answers("peer", ours, theirs)


def test_a_server_that_changes_its_answer_under_load_is_refused() -> None:
    server = Server(1, {b"request": answer_of(1)})
    server.check(b"request", answer_of(1))
    with pytest.raises(AssertionError, match="under load"):
        server.check(b"request", answer_of(2))


def test_other_bytes_or_columns_are_refused() -> None:
    with pytest.raises(AssertionError, match="bytes differ"):
        codec.check_same_bytes(answer_of(1), answer_of(2))
    with pytest.raises(AssertionError, match="columns differ: post_id"):
        codec.check_same_columns(codec.columns_of(answer_of(1)), codec.columns_of(answer_of(2)))


def test_many_long_requests_go_over_one_connection(echo_port: int) -> None:
    """A window that is lost count of would end a measurement in a time-out."""
    requests = [bytes([i]) * 40_000 for i in range(30)]
    assert ask_all(echo_port, METHOD, requests) == requests


def test_a_refused_call_is_no_answer(echo_port: int) -> None:
    """Refusals are quick: counted as answers they would make a broken server the fastest."""
    with pytest.raises(CallFailedError, match="no message"):
        ask_all(echo_port, "/foryou.thunder.v1.InNetworkPostsService/Another", [b""])


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Of a gRPC server that knows one method and answers with the request."""
    service, name = METHOD.strip("/").split("/")
    handlers = {name: grpc.unary_unary_rpc_method_handler(lambda request, context: request)}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()
