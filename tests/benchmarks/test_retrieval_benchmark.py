"""A comparison of answers that differ is void, and a report without the promised lines too."""

import argparse

import numpy as np
import pytest

from benchmarks.retrieval import add_arguments, check_answers, index_of, measure
from benchmarks.retrieval.floor import Floor
from benchmarks.retrieval.peers import Peer, product_peers
from benchmarks.retrieval.workload import filters_of, make_world


def test_a_quick_run_has_every_contestant_and_the_promised_lines():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    add_arguments(parser)
    report = measure(parser.parse_args(["--quick"]))
    assert [line.unit for line in report.lines] == ["x"] * 3
    assert report.lines[1].met  # exact by construction; the others are times
    for situation in ("batch 1", "batch 16", "changes"):
        assert report.timings[situation]
    assert "floor: the codes read once" in report.timings["batch 1"]


def test_a_peer_that_answers_other_scores_is_refused():
    world = make_world(3_000, 128, n_queries=2)
    honest = product_peers(world.vectors, 20)[1]
    index = index_of(world)
    assert check_answers(world, 20, index, [honest])[honest.name] == 1.0

    def careless(queries):
        rows, scores = honest.search(queries)
        return rows, scores + 1e-3

    with pytest.raises(ValueError, match="careless answers other scores"):
        check_answers(world, 20, index, [Peer("careless", careless, exact=True)])


def test_the_filter_leaves_out_posts_that_would_be_answered():
    """A filter of posts far from the query would cost nothing and show nothing."""
    world = make_world(3_000, 128, n_queries=2)
    index = index_of(world)
    free = index.search(world.queries[0], 50).post_ids
    filtered = index.search(world.queries[0], 50, filters_of(world, 1_000)).post_ids
    assert len(filtered) == 50
    assert not np.isin(free, filtered).any()


def test_the_floor_reads_every_byte_once():
    floor = Floor(8 * 3_000_000, threads=2)
    assert floor.read() == 3_000_000 * 2_999_999 // 2
