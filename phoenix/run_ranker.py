"""Rank candidate posts for one viewer with a trained ranker, and show why.

    uv run phoenix/run_ranker.py [--checkpoint DIR] [--sequence FILE.json] [--top-k 8]

Prints, best first, each post with every action's probability, the expected dwell, and the weighted
score Σ weight · value (weights `x-2026-10`; no offset, diversity or network factor: those are
home_mixer's). Needs a trained checkpoint and never scores with untrained parameters.
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

from phoenix.checkpoint import Checkpoint, load_ranker
from phoenix.config import RankerConfig
from phoenix.ranker import Ranker
from phoenix.run_common import banner, bar, one_line, parser, run
from phoenix.sequence_file import Post, ViewerSequence
from service_kit.ranking_weights import load_table

DWELL_HEAD = "dwell_time"


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates best first; equal scores keep their order."""

    posts: tuple[Post, ...]  # [C]
    probabilities: NDArray[np.float64]  # [C, A]
    dwell_seconds: NDArray[np.float64]  # [C]
    scores: NDArray[np.float64]  # [C]


def rank(config: RankerConfig, checkpoint: Checkpoint, sequence: ViewerSequence) -> Ranking:
    """Predict all candidates and sort them by weighted score."""
    if not sequence.candidates:
        raise ValueError("the sequence has no candidates to rank")
    predict = jax.jit(Ranker(config).predict)
    inputs = sequence.context(config), sequence.candidate_inputs(config)
    output = predict(checkpoint.params, *inputs)
    raw = np.exp(np.asarray(output.log_probs[0], np.float64))
    probabilities = checkpoint.calibration.probabilities(config.action_names, raw)
    dwell = np.asarray(output.dwell_seconds[0], np.float64)
    weights = load_table()["weights"]
    heads = np.array([float(weights.get(name, 0.0)) for name in config.action_names])
    scores = probabilities @ heads + float(weights[DWELL_HEAD]) * dwell
    order = np.argsort(-scores, kind="stable")
    posts = tuple(sequence.candidates[i] for i in order)
    return Ranking(posts, probabilities[order], dwell[order], scores[order])


def main(argv: list[str] | None = None) -> int:
    arguments = parser("Rank posts for one viewer.", "ranker", top_k=8).parse_args(argv)
    return run(_print_ranking, arguments)


def _print_ranking(arguments: argparse.Namespace) -> None:
    config, checkpoint = load_ranker(arguments.checkpoint)
    sequence = ViewerSequence.read(arguments.sequence)
    ranking = rank(config, checkpoint, sequence)
    lines = [
        f"Phoenix ranker {checkpoint.model_version}",
        f"User {sequence.user_id} has {len(sequence.history)} posts in their history",
        f"Ranking {len(sequence.candidates)} candidate posts by weighted score",
    ]
    print(banner(lines))
    for position in range(min(arguments.top_k, len(ranking.posts))):
        _print_post(config, ranking, position)


def _print_post(config: RankerConfig, ranking: Ranking, position: int) -> None:
    post = ranking.posts[position]
    author = f"@{post.author}" if post.author else f"author {post.author_id}"
    print(f"\nRank {position + 1}: post {post.post_id} by {author}")
    if post.text:
        print(f"  “{one_line(post.text)}”")
    for name, probability in zip(config.action_names, ranking.probabilities[position], strict=True):
        title = name.replace("_", " ").title()
        print(f"  {title:<24}: {bar(probability)} {probability:.3f}")
    print(f"  {'Expected dwell':<24}: {ranking.dwell_seconds[position]:.1f} s")
    print(f"  {'Weighted score':<24}: {ranking.scores[position]:.4f}")


if __name__ == "__main__":
    raise SystemExit(main())
