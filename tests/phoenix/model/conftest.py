"""Small models with random, far from zero, parameters, and random batches for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from phoenix.config import (
    ModelConfig,
    RankerConfig,
    RetrievalConfig,
    ranker_preset,
    retrieval_preset,
)
from phoenix.data.impressions import Impressions
from phoenix.features import CandidateInputs, ContextInputs, ranker_inputs
from phoenix.ranker import Ranker
from phoenix.retrieval import RetrievalModel

Batch = tuple[ContextInputs, CandidateInputs]


@pytest.fixture(autouse=True, scope="module")
def _compile_fast() -> Iterator[None]:
    """These tests compile much and compute little: leave out XLA's optimisations."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def ranker_config() -> RankerConfig:
    return ranker_preset("nano")


@pytest.fixture(scope="session")
def retrieval_config() -> RetrievalConfig:
    return retrieval_preset("nano", output_width=8)


def _lively(params: dict[str, Any]) -> dict[str, Any]:
    """Every parameter moved away from its initial value, rows to the size that training gives."""
    rng = np.random.default_rng(5)
    dense = jax.tree.map(
        lambda w: np.float32(w + 0.3 * rng.standard_normal(w.shape)),
        params["dense"],
    )
    tables = {name: 4.0 * np.asarray(table) for name, table in params["tables"].items()}
    return {"dense": dense, "tables": tables}


@pytest.fixture(scope="session")
def ranker(ranker_config: RankerConfig) -> Ranker:
    return Ranker(ranker_config)


@pytest.fixture(scope="session")
def ranker_params(ranker: Ranker) -> dict[str, Any]:
    return _lively(ranker.init(3))


@pytest.fixture(scope="session")
def retrieval(retrieval_config: RetrievalConfig) -> RetrievalModel:
    return RetrievalModel(retrieval_config)


@pytest.fixture(scope="session")
def retrieval_params(retrieval: RetrievalModel) -> dict[str, Any]:
    return _lively(retrieval.init(3))


@pytest.fixture(scope="session")
def make_raw() -> Callable[..., SimpleNamespace]:
    """Random raw batches: ids, actions, seconds; the newest `lengths[b]` slots are valid."""

    def make(
        config: ModelConfig,
        *,
        batch: int = 3,
        history: int = 6,
        candidates: int = 5,
        lengths: tuple[int, ...] = (6, 3, 0),
        seed: int = 0,
    ) -> SimpleNamespace:
        rng = np.random.default_rng(seed)
        valid = np.array([lengths[row % len(lengths)] for row in range(batch)])
        mask = np.arange(history)[None] >= history - valid[:, None]
        slots, shown = (batch, history), (batch, candidates)
        return SimpleNamespace(
            viewer_ids=rng.integers(1, 10**12, batch),
            history_post_ids=rng.integers(1, 2**60, slots) * mask,
            history_author_ids=rng.integers(1, 6, slots) * mask,
            history_actions=(rng.random((*slots, config.num_actions)) < 0.2).astype(np.float32),
            history_dwell_seconds=rng.uniform(0, 60, slots).astype(np.float32) * mask,
            history_surface=rng.integers(0, 7, slots),
            history_age_seconds=rng.uniform(0, 1e6, slots).astype(np.float32),
            history_mask=mask,
            candidate_post_ids=rng.integers(1, 2**60, shown),
            candidate_author_ids=rng.integers(1, 6, shown),
            candidate_surface=rng.integers(0, 7, shown),
            candidate_age_seconds=rng.uniform(-1, 3e5, shown).astype(np.float32),
        )

    return make


@pytest.fixture(scope="session")
def make_batch(make_raw: Callable[..., SimpleNamespace]) -> Callable[..., Batch]:
    def make(config: ModelConfig, **sizes: Any) -> Batch:
        return ranker_inputs(config, make_raw(config, **sizes))

    return make


@pytest.fixture(scope="session")
def make_impressions() -> Callable[..., Impressions]:
    """A little world: a viewer likes the authors whose number has the viewer's parity."""

    def make(rows: int = 600, viewers: int = 20, seed: int = 0) -> Impressions:
        rng = np.random.default_rng(seed)
        viewer = rng.integers(1, viewers + 1, rows)
        author = rng.integers(1, 11, rows)
        likes = rng.random(rows) < np.where(viewer % 2 == author % 2, 0.8, 0.1)
        clicks = rng.random(rows) < 0.3
        return Impressions(
            viewer_ids=viewer,
            post_ids=rng.integers(1, 200, rows),
            author_ids=author,
            impressed_at_ms=np.sort(rng.integers(10**12, 10**12 + 10**8, rows)),
            product_surface=np.ones(rows, np.int8),
            labels=np.stack([likes, clicks], axis=1).astype(np.float32),
            dwell_seconds=np.where(likes, 20.0, 2.0).astype(np.float32),
            action_names=("favorite", "click"),
            weight=np.ones(rows, np.float32),
        )

    return make


@pytest.fixture(scope="session")
def two_action_config(ranker_config: RankerConfig) -> RankerConfig:
    return replace(ranker_config, action_names=("favorite", "click"))
