"""Retrieve posts for one viewer with a trained two-tower model.

    uv run phoenix/run_retrieval.py [--checkpoint DIR] [--sequence FILE.json] [--top-k 10]

The corpus is the file's candidates. Posts of the history and the viewer's own are left out. Prints
post ids, authors and texts with the cosine of the two towers, best first.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a script: the repository's root holds the packages
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import numpy as np
from numpy.typing import NDArray

from phoenix.checkpoint import Checkpoint, load_retrieval
from phoenix.config import RetrievalConfig
from phoenix.features import author_hashes, post_hashes
from phoenix.retrieval import RetrievalModel
from phoenix.run_common import banner, bar, one_line, parser, run
from phoenix.sequence_file import Post, ViewerSequence


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Posts best first; equal scores by larger post id."""

    posts: tuple[Post, ...]
    scores: NDArray[np.float32]  # cosines


def retrieve(
    config: RetrievalConfig, checkpoint: Checkpoint, sequence: ViewerSequence, top_k: int
) -> Retrieved:
    """Exact search over the sequence's candidates."""
    seen = {event.post_id for event in sequence.history}
    corpus = tuple(
        post
        for post in sequence.candidates
        if post.post_id not in seen and post.author_id != sequence.user_id
    )
    if not corpus:
        raise ValueError("the sequence has no candidates beside seen and own posts")
    model = RetrievalModel(config)
    user = jax.jit(model.user_tower)(checkpoint.params, sequence.context(config))[0]
    ids = np.array([post.post_id for post in corpus], np.int64)
    authors = np.array([post.author_id for post in corpus], np.int64)
    hashes = post_hashes(config, ids), author_hashes(config, authors)
    vectors = jax.jit(model.candidate_tower)(checkpoint.params, *hashes)
    scores = np.asarray(vectors) @ np.asarray(user)
    order = np.lexsort((-ids, -scores))[:top_k]
    return Retrieved(tuple(corpus[i] for i in order), scores[order])


def main(argv: list[str] | None = None) -> int:
    description = "Retrieve posts for one viewer."
    return run(_print, parser(description, "retrieval", top_k=10).parse_args(argv))


def _print(arguments: argparse.Namespace) -> None:
    config, checkpoint = load_retrieval(arguments.checkpoint)
    sequence = ViewerSequence.read(arguments.sequence)
    found = retrieve(config, checkpoint, sequence, arguments.top_k)
    lines = [
        f"Phoenix retrieval {checkpoint.model_version}",
        f"User {sequence.user_id} has {len(sequence.history)} posts in their history",
        f"Corpus: {len(sequence.candidates)} posts, vectors of width {config.output_width}",
    ]
    print(banner(lines))
    print(f"{'Rank':>4}  {'Post':<20} {'Score':<28} Author and text")
    for position, (post, score) in enumerate(zip(found.posts, found.scores, strict=True), 1):
        author = f"@{post.author}" if post.author else f"author {post.author_id}"
        share = bar((float(score) + 1) / 2)
        print(f"{position:>4}  {post.post_id:<20} {share} {score:7.4f} {author}: "
              f"{one_line(post.text)}")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
