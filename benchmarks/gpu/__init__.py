"""Scoring, retrieval and a training step on the device that JAX finds, against its own peaks.

Meant for an accelerator; it runs on whatever there is and says which, and a CPU's figures are no
accelerator's. The peaks are measured in the same run: a product of two square bfloat16 matrices,
and a copy of a large array. Scoring: candidates × viewers of one call, the context encoded before.
Retrieval: one product of a viewer's vector with all posts', then the exact or approximate best.
Training: `benchmarks.gpu.training`.

Glossary: B viewers, C candidates, N posts, D width, k results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.training import TrainingTurn
from benchmarks.harness import Report, Timing, sized, take_turns
from benchmarks.scoring.contestants import trained_like
from benchmarks.scoring.roofline import score_work
from phoenix.config import RankerConfig, ranker_preset
from phoenix.ranker import Ranker, dummy_candidates, dummy_context

WIDTH, RESULTS = 128, 1_000
MEMORY_SHARE = 0.6  # of the device's, for the posts' vectors: the product needs room as well
CPU_POSTS_MAX = 1_000_000

Turn = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one run measures."""

    preset: str
    buckets: tuple[int, ...]
    viewers: tuple[int, ...]
    posts: tuple[int, ...]
    contexts: tuple[int, ...]  # of a training step
    side: int  # of the peak's matrices
    copied_bytes: int
    repeats: int


FULL = Sizes(
    preset="mid",
    buckets=(64, 512, 1_200),
    viewers=(1, 8),
    posts=(1_000_000, 10_000_000, 50_000_000),
    contexts=(64, 256),
    side=8_192,
    copied_bytes=1 << 30,
    repeats=20,
)
QUICK = Sizes("nano", (16,), (1, 2), (2_000,), (8,), 256, 1 << 20, 3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How often, and the seed."""
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seed", type=int, default=1)


def measure(options: argparse.Namespace) -> Report:
    """Sizes that do not fit the device are left out, and the notes say so."""
    sizes = QUICK if options.quick else FULL
    repeats = sized(options, "repeats", FULL.repeats, QUICK.repeats)
    device = jax.devices()[0]
    config = ranker_preset(sizes.preset, compute_dtype="bfloat16")
    timings: dict[str, dict[str, Timing]] = {}
    figures: dict[str, Any] = {}
    notes = [f"measured on {device.device_kind} ({device.platform})"]
    peaks = _peaks(sizes)
    scoring, flops = _scoring(config, sizes, options.seed)
    seconds = take_turns(peaks | scoring, repeats)
    timings["scoring"] = {name: Timing.of(values) for name, values in seconds.items()}
    flops_peak = 2 * sizes.side**3 / float(np.median(seconds["peak: product"]))
    bytes_peak = 2 * sizes.copied_bytes / float(np.median(seconds["peak: copy"]))
    figures["peaks"] = {"flop/s": flops_peak, "bytes/s": bytes_peak}
    figures["scoring, share of the peak"] = {
        name: flops[name] / float(np.median(seconds[name])) / flops_peak for name in flops
    }
    for posts in sizes.posts:
        if posts > posts_max(device):
            notes.append(f"{posts:,} posts are left out: they do not fit the device")
            continue
        taken = take_turns(_retrieval(posts, options.seed), repeats)
        group = f"retrieval, {posts:,} posts"
        timings[group] = {name: Timing.of(values) for name, values in taken.items()}
        figures[f"{group}, share of the copy's bytes/s"] = {
            name: 2 * posts * WIDTH / float(np.median(values)) / bytes_peak
            for name, values in taken.items()
        }
    _training(config, sizes, options.seed, repeats, flops_peak, timings, figures)
    workload = {"device": device.device_kind, "platform": device.platform, "seed": options.seed}
    return Report("gpu", workload, timings, (), figures, notes)


def _training(
    config: RankerConfig,
    sizes: Sizes,
    seed: int,
    repeats: int,
    flops_peak: float,
    timings: dict[str, dict[str, Timing]],
    figures: dict[str, Any],
) -> None:
    turns = {f"a step of {count} contexts": TrainingTurn(config, count, seed)
             for count in sizes.contexts}  # fmt: skip
    taken = take_turns(turns, repeats)
    timings["training"] = {name: Timing.of(values) for name, values in taken.items()}
    for name, turn in turns.items():
        seconds = float(np.median(taken[name]))
        found: dict[str, float] = {"examples/s": turn.examples / seconds}
        if turn.flops is not None:
            found |= {"flop/s": turn.flops / seconds}
            found |= {"share of the peak": turn.flops / seconds / flops_peak}
        figures[f"training, {name}"] = found


def posts_max(device: Any) -> int:
    """Posts whose bfloat16 vectors fit."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None:  # a CPU says nothing of its memory
        return CPU_POSTS_MAX
    return int(MEMORY_SHARE * limit) // (2 * WIDTH)


def _peaks(sizes: Sizes) -> dict[str, Turn]:
    matrix = jnp.ones((sizes.side, sizes.side), jnp.bfloat16)
    multiply = jax.jit(lambda x: jax.lax.dot(x, x, preferred_element_type=jnp.float32))
    block = jnp.zeros(sizes.copied_bytes // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    return {
        "peak: product": lambda: multiply(matrix).block_until_ready(),
        "peak: copy": lambda: copy(block).block_until_ready(),
    }


def _scoring(
    config: RankerConfig, sizes: Sizes, seed: int
) -> tuple[dict[str, Turn], dict[str, int]]:
    """Turns by name, and the floating-point operations of each."""
    ranker = Ranker(config)
    params = jax.device_put(trained_like(config, seed))
    turns: dict[str, Turn] = {}
    flops: dict[str, int] = {}
    for viewers in sizes.viewers:
        context = dummy_context(config, viewers, config.history_length)
        cache = jax.jit(ranker.encode)(params, context)
        for count in sizes.buckets:
            name = f"score, {count:,} candidates x {viewers}"
            candidates = jax.device_put(dummy_candidates(config, viewers, count))
            turns[name] = _score_turn(ranker, params, cache, candidates)
            flops[name] = viewers * score_work(config, count).flops
    return turns, flops


def _score_turn(ranker: Ranker, params: Any, cache: Any, candidates: Any) -> Turn:
    score = jax.jit(lambda p, k, c: ranker.score(p, k, c).log_probs)
    return lambda: score(params, cache, candidates).block_until_ready()


def _retrieval(posts: int, seed: int) -> dict[str, Turn]:
    """One viewer's best of bfloat16 vectors [N, D], drawn on the device."""
    draw = jax.jit(lambda key: jax.random.normal(key, (posts, WIDTH), jnp.bfloat16))
    vectors = draw(jax.random.PRNGKey(seed))
    viewer = jnp.ones((WIDTH, 1), jnp.bfloat16)
    best = min(RESULTS, posts)

    def scores(v: Any, x: Any) -> Any:
        return jax.lax.dot(v, x, preferred_element_type=jnp.float32)[:, 0]

    exact = jax.jit(lambda v, x: jax.lax.top_k(scores(v, x), best))
    near = jax.jit(lambda v, x: jax.lax.approx_max_k(scores(v, x), best))
    return {
        "product and exact best": lambda: exact(vectors, viewer)[0].block_until_ready(),
        "product and approximate best": lambda: near(vectors, viewer)[0].block_until_ready(),
    }
