"""Retrieval's best thousand of a million posts: ours, its peers and the memory's floor, by turns.

The floor reads as many bytes as there are int8 codes, once, with every core: no exact scan of them
can be faster. An exact peer's scores must equal ours before its time counts; an approximate one
shows its recall beside its time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Line, Report, Timing, ratio, take_turns
from benchmarks.retrieval.floor import Floor
from benchmarks.retrieval.live import while_changing
from benchmarks.retrieval.peers import Peer, faiss_peers, product_peers
from benchmarks.retrieval.workload import World, filters_of, make_world, reference
from phoenix.index.exact import ExactIndex
from phoenix.index.search import SearchRequest

DIMENSION, BATCH = 128, 16
INSERTS_PER_SECOND, SEEN_POSTS = 1_000, 5_000
# Peers that hold their own copy of the rows are left out above this, to stay within 7 GB.
COPIES_POSTS_MAX = 2_000_000
OURS, OURS_FLOAT32, FLOOR = "ours, int8 codes", "ours, float32 rows", "floor: the codes read once"
JIT, FILTERED = "jax jit matmul + top_k", "ours, 5,000 seen posts filtered"
TURNS_OF_THE_SLOW = 8
SCORE_TOLERANCE = 2e-5  # of sums of 128 float32 products in other orders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the corpus and of the answer."""
    parser.add_argument("--posts", type=int, default=1_000_000, help="posts in the index")
    parser.add_argument("--k", type=int, default=1_000, help="posts to answer")
    parser.add_argument("--repeats", type=int, default=40, help="turns of each contestant")


def measure(options: argparse.Namespace) -> Report:
    """Builds the corpus, checks that the answers are the same, then takes the times."""
    posts, k, repeats = options.posts, options.k, options.repeats
    if options.quick:
        posts, k, repeats = 20_000, 100, 3
    world = make_world(posts, DIMENSION, n_queries=BATCH)
    ours = index_of(world)
    # from here on the world's vectors are our rows, which lie in the order of the ids: one copy
    world = replace(world, vectors=ours._stored.vectors[:posts])
    peers, notes = all_peers(world, k)
    recall = check_answers(world, k, ours, peers)
    turns, most = (
        _turns(world, k, ours, peers),
        {p.name: TURNS_OF_THE_SLOW for p in peers if p.slow},
    )
    one = take_turns(turns["batch 1"], repeats, most=most)
    many = take_turns(turns["batch 16"], max(2, repeats // 5), warm_up=1, most=most)
    quiet, changing = while_changing(
        ours, world, k, max(3, 5 * repeats), inserts_per_second=INSERTS_PER_SECOND
    )
    timings = {
        "batch 1": {name: Timing.of(seconds) for name, seconds in one.items()},
        "batch 16": {name: Timing.of(seconds) for name, seconds in many.items()},
        "changes": {
            "ours, no changes": Timing.of(quiet),
            "ours, 1,000 inserts and removals a second": Timing.of(changing.searches),
            "an insert of 100 posts": Timing.of(changing.inserts),
        },
    }
    figures = {f"recall@{k}, {name}": f"{value:.4f}" for name, value in recall.items()}
    figures["bytes a post, with its float32 row"] = round(ours.memory_bytes / len(ours))
    figures["floor, GB/s"] = round(posts * DIMENSION / float(np.median(one[FLOOR])) / 1e9, 1)
    lines = [
        Line("batch 1: ours / floor", ratio(one[OURS], one[FLOOR]), 2.0, "at most"),
        Line(f"recall@{k} of ours", recall[OURS], 0.999, "at least"),
        Line("batch 1: jit top-k / ours", ratio(one[JIT], one[OURS]), 2.5, "at least"),
    ]
    workload = {"posts": posts, "width": DIMENSION, "k": k, "threads": ours.threads}
    return Report("retrieval", workload, timings, lines, figures, notes)


def index_of(world: World, **options: Any) -> ExactIndex:
    """Ours, with every post of the world."""
    index = ExactIndex(DIMENSION, rows_max=len(world.post_ids) + 100_000, **options)
    for part in world.batches():
        index.upsert(*part)
    return index


def all_peers(world: World, k: int) -> tuple[list[Peer], list[str]]:
    """What ours is compared with, and what is left out."""
    peers = product_peers(world.vectors, k)
    if len(world.post_ids) > COPIES_POSTS_MAX:
        return peers, ["faiss and our float32 scan are left out: each holds a copy of the rows"]
    flat = index_of(world, codes=False)
    peers.append(Peer(OURS_FLOAT32, lambda queries: _scores(flat, queries, k), True))
    found, notes = faiss_peers(world.vectors, k)
    return peers + found, notes


def check_answers(world: World, k: int, ours: ExactIndex, peers: list[Peer]) -> dict[str, float]:
    """Recall by contestant. Raises ValueError where an exact one's scores are not those of ours."""
    truth = [reference(world, query, k) for query in world.queries]
    recall = {OURS: _recall(truth, [_ids(ours, query, k) for query in world.queries])}
    expected = _scores(ours, world.queries, k)[1]
    for peer in peers:
        rows, scores = peer.search(world.queries)
        recall[peer.name] = _recall(truth, rows)
        if peer.exact and not np.allclose(scores, expected, atol=SCORE_TOLERANCE):
            raise ValueError(f"{peer.name} answers other scores than ours; its time says nothing")
    return recall


def _turns(
    world: World, k: int, ours: ExactIndex, peers: list[Peer]
) -> dict[str, Mapping[str, Callable[[], Any]]]:
    """Contestants by situation. Batch 1 goes through the queries, one a turn, all in step."""
    queries, turn = world.queries, {"of": -1}
    floor = Floor(len(world.post_ids) * DIMENSION, ours.threads)
    filters = filters_of(world, SEEN_POSTS)

    def start() -> Any:
        turn["of"] += 1
        return floor.read()

    def query() -> Any:
        return queries[turn["of"] % BATCH]

    requests = [SearchRequest(one, k) for one in queries]
    return {
        "batch 1": {
            FLOOR: start,
            OURS: lambda: ours.search(query(), k),
            FILTERED: lambda: ours.search(query(), k, filters),
            **{peer.name: partial(_search_one, peer, query) for peer in peers},
        },
        "batch 16": {
            FLOOR: floor.read,
            OURS: lambda: ours.search_many(requests),
            "ours, one after another": lambda: [ours.search(one, k) for one in queries],
            **{
                peer.name: partial(peer.search, queries)
                for peer in peers
                if peer.name != OURS_FLOAT32
            },
        },
    }


def _search_one(peer: Peer, query: Callable[[], Any]) -> Any:
    return peer.search(query()[None])


def _ids(index: ExactIndex, query: Any, k: int) -> Any:
    return index.search(query, k).post_ids.astype(np.int64) - 1


def _scores(index: ExactIndex, queries: Any, k: int) -> tuple[Any, Any]:
    """Rows and scores [Q, K] of an index; row = id - 1."""
    found = [index.search(query, k) for query in queries]
    return np.stack([one.post_ids.astype(np.int64) - 1 for one in found]), np.stack(
        [one.scores for one in found]
    )


def _recall(truth: list[Any], rows: Any) -> float:
    shares = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(truth, rows, strict=True)]
    return float(np.mean(shares))
