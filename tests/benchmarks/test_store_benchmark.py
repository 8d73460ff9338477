"""A benchmark of the store whose peers answer something else, or which misses a part, is void."""

import argparse
import dataclasses

import numpy as np
import pytest

from benchmarks.harness import Report
from benchmarks.store import add_arguments, measure
from benchmarks.store.mixed import Answer, _check
from benchmarks.store.object_store import ObjectStore
from benchmarks.store.oracle import Oracle
from benchmarks.store.peers import OBJECTS, OURS, RESULTS, check_same
from benchmarks.store.workload import NOW_MS, make_requests, make_world
from thunder.layout import REPLY, REPOST, VIDEO


def measured(*arguments: str) -> Report:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    add_arguments(parser)
    return measure(parser.parse_args(["--quick", *arguments]))


def test_the_quick_size_measures_every_part_and_its_answers_agree() -> None:
    """`measure` asserts that peers and, while posts come, a plain oracle give the same lists."""
    report = measured("--seed", "3")
    assert set(report.timings) == {
        "50 follows",
        "400 follows",
        "400 follows, alone",
        "400 follows, while posts come",
    }
    for group in ("50 follows", "400 follows"):
        assert {OURS, OBJECTS} <= set(report.timings[group])
    judged = " ".join(line.what for line in report.lines)
    for promise in (
        "memory",
        "p99, alone",
        "inserts a second: p99 over quiet p99",
        "hours of insert and trim",
    ):
        assert promise in judged


def test_a_peer_with_another_list_is_refused() -> None:
    """Its time would be that of another answer."""
    ours = np.array([3, 2, 1], np.uint64)
    check_same(100, ours, {"peer": ours.copy()})
    with pytest.raises(AssertionError, match="peer gives 2 posts for 100 follows, ours 3"):
        check_same(100, ours, {"peer": ours[:2]})


def test_an_answer_that_misses_a_post_fails_the_oracle() -> None:
    """Answers given while posts come would go unchecked."""
    world = make_world(20_000, 2_000, np.random.default_rng(1))
    request = make_requests(world, 200, 1, np.random.default_rng(2))[0]
    ids = Oracle.of(world).query(request, NOW_MS, world.posts.size, RESULTS)
    answer = Answer(request, NOW_MS, world.posts.size, world.posts.size, ids)
    _check(world, [answer])
    with pytest.raises(AssertionError, match="is not the oracle's for any of 20000 to 20000"):
        _check(world, [dataclasses.replace(answer, ids=ids[1:])])


def test_two_plain_stores_agree_on_the_workload() -> None:
    """The peers' equality would prove little if the oracle read the rules otherwise."""
    world = make_world(20_000, 2_000, np.random.default_rng(4))
    objects, oracle = ObjectStore.of(world), Oracle.of(world)
    for request in make_requests(world, 300, 5, np.random.default_rng(5)):
        expected = oracle.query(request, NOW_MS, world.posts.size, RESULTS)
        assert np.array_equal(objects.query(request, RESULTS), expected)
        assert expected.size > 100


def test_the_workload_is_of_the_kind_it_says() -> None:
    """Another mix would be another, easier promise."""
    world = make_world(100_000, 10_000, np.random.default_rng(6), extra=10_000)
    flags, posts = world.flags, world.posts
    shares = [np.mean(flags & bit != 0) for bit in (REPLY, REPOST, VIDEO)]
    assert np.allclose(shares, [0.35, 0.25, 0.15], atol=0.02)
    assert np.all(np.diff(posts["post_id"].astype(np.int64)) > 0)
    assert np.sum(posts["created_at_ms"] >= NOW_MS) == 10_000 == world.extra
    assert world.at_start().posts.size == 100_000 > world.dead.max()


def test_too_small_a_world_is_refused() -> None:
    with pytest.raises(ValueError, match="--posts is 50: at least 10000"):
        measured("--posts", "50")
