"""What the trainer trains: a model, its batches, its inputs and its loss, for each of the two.

Glossary: B batch, S history, C candidates, G uniform negatives, J hashes, E table width.

A task tells the trainer which table rows a batch reads (`hashes`) and computes the loss from those
rows, so that gradients are taken by rows and never by whole tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from phoenix.config import RankerConfig, RetrievalConfig
from phoenix.data.batches import RankerBatch, RankerBatches
from phoenix.data.impressions import Impressions
from phoenix.data.rates import RatesBatch, RatesReader, rate_tables
from phoenix.data.retrieval_batches import RetrievalBatch, RetrievalBatches
from phoenix.data.wide import wide_tables
from phoenix.features import (
    ContextInputs,
    author_hashes,
    context_inputs,
    post_hashes,
    ranker_inputs,
)
from phoenix.losses import Parts, ranker_loss, retrieval_loss
from phoenix.ranker import Ranker
from phoenix.retrieval import RetrievalModel
from phoenix.tables import CandidateRows, ContextRows
from phoenix.training_options import TrainingOptions

Array = jax.Array
Inputs = Any  # a pytree of arrays
Hashes = Mapping[str, Sequence[Any]]
Rows = Mapping[str, Sequence[Array]]

RATE_MIN = 1e-5  # base rates are clipped here, so that an action never seen has a finite logit


class Batches(Protocol):
    """Endless, resumable batches (`phoenix.data`)."""

    def next_batch(self) -> Any: ...
    def state_dict(self) -> dict[str, int]: ...
    def load_state_dict(self, state: Mapping[str, int]) -> None: ...


class Task(Protocol):
    """One model under training."""

    @property
    def config(self) -> RankerConfig | RetrievalConfig: ...
    @property
    def batches(self) -> Batches: ...
    def init(self, seed: int) -> dict[str, Any]: ...
    def inputs(self, batch: Any, rng: np.random.Generator) -> Inputs: ...
    def hashes(self, inputs: Inputs) -> Hashes: ...
    def loss(self, dense: Any, rows: Rows, inputs: Inputs) -> tuple[Array, Parts]: ...


@dataclass(frozen=True, slots=True)
class RankerTask:
    """Predict what each impression led to."""

    config: RankerConfig
    batches: RankerBatches
    impressions: Impressions
    options: TrainingOptions
    rates: RatesReader | None = None

    @classmethod
    def of(
        cls, impressions: Impressions, config: RankerConfig, options: TrainingOptions
    ) -> RankerTask:
        if impressions.action_names != config.action_names:
            raise ValueError(
                f"the data has the actions {impressions.action_names}, the model "
                f"{config.action_names}: use config.with_actions(impressions.action_names)"
            )
        batches = RankerBatches(
            impressions,
            history_length=config.history_length,
            candidates=options.candidates,
            batch_size=options.batch_size,
            seed=options.seed,
        )
        rates = RatesReader(impressions, config) if config.rates else None
        return cls(config, batches, impressions, options, rates)

    def init(self, seed: int) -> dict[str, Any]:
        """Fresh parameters whose first prediction is each action's base rate.

        The tables of counts are those of the end of the data: serving reads them, training asks
        `RatesReader` for what was counted before each batch's times.
        """
        params = Ranker(self.config).init(seed)
        head = params["dense"]["ranker"]
        base = _base_logits(self.impressions)
        head["head_bias"] = jnp.asarray(base)
        if self.config.rates:
            head["rates_base"] = jnp.asarray(base[:-1])
            counted = rate_tables(self.impressions, self.config)
            params["tables"] |= {name: jnp.asarray(table) for name, table in counted.items()}
        fitted = wide_tables(self.impressions, self.config, seed)
        params["tables"] |= {name: jnp.asarray(table) for name, table in fitted.items()}
        return params

    def inputs(self, batch: RankerBatch, rng: np.random.Generator) -> Inputs:
        context, candidates = ranker_inputs(self.config, batch)
        context = hide_context(context, self.options, rng)
        posts = hide(candidates.post_hashes, self.options.post_dropout, rng)
        candidates = candidates._replace(post_hashes=posts)
        rates = self._rates(batch)
        labels = batch.labels, batch.labels_known
        return context, candidates, *labels, batch.dwell_seconds, batch.weight, rates

    def _rates(self, batch: RankerBatch) -> RatesBatch | None:
        if self.rates is None:
            return None
        posts, authors = batch.candidate_post_ids, batch.candidate_author_ids
        return self.rates.read(batch.viewer_ids, posts, authors, batch.candidate_tags, batch.at_ms)

    def hashes(self, inputs: Inputs) -> Hashes:
        context, candidates, *_ = inputs
        return {
            "user": (context.user_hashes,),
            "post": (context.history_post_hashes, candidates.post_hashes),
            "author": (context.history_author_hashes, candidates.author_hashes),
        } | (
            {"tag": (context.history_tag_hashes, candidates.tag_hashes)}
            if self.config.tag_rows
            else {}
        )

    def loss(self, dense: Any, rows: Rows, inputs: Inputs) -> tuple[Array, Parts]:
        context, candidates, labels, labels_known, dwell_seconds, weight, rates = inputs
        ranker = Ranker(self.config)
        tags = rows.get("tag", (None, None))
        user_rates, keys = (None, ()) if rates is None else rates
        context_rows = ContextRows(
            rows["user"][0], rows["post"][0], rows["author"][0], tags[0], user_rates
        )
        cache = ranker.encode_rows(dense, context_rows, context)
        candidate_rows = CandidateRows(rows["post"][1], rows["author"][1], tags[1], keys)
        output = ranker.score_rows(dense, cache, candidate_rows, candidates)
        weights = jnp.array(
            [self.options.action_weights.get(name, 1.0) for name in self.config.action_names],
            jnp.float32,
        )
        return ranker_loss(
            output,
            labels,
            dwell_seconds,
            weight,
            weights,
            self.options.dwell_weight,
            labels_known,
            self.options.listwise_weight,
        )


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """Find the posts that a viewer engages with among all others."""

    config: RetrievalConfig
    batches: RetrievalBatches
    options: TrainingOptions
    start: Mapping[str, Any] | None  # parameters of a ranker to begin with

    @classmethod
    def of(
        cls,
        impressions: Impressions,
        config: RetrievalConfig,
        options: TrainingOptions,
        start: Mapping[str, Any] | None = None,
    ) -> RetrievalTask:
        if impressions.action_names != config.action_names:
            raise ValueError(
                f"the data has the actions {impressions.action_names}, the model "
                f"{config.action_names}: use config.with_actions(impressions.action_names)"
            )
        batches = RetrievalBatches(
            impressions,
            history_length=config.history_length,
            batch_size=options.batch_size,
            negatives=options.uniform_negatives,
            seed=options.seed,
            positive_actions=options.positive_actions,
        )
        return cls(config, batches, options, start)

    def init(self, seed: int) -> dict[str, Any]:
        params = RetrievalModel(self.config).init(seed)
        return warm_start(params, self.start) if self.start is not None else params

    def inputs(self, batch: RetrievalBatch, rng: np.random.Generator) -> Inputs:
        ids = np.concatenate([batch.positive_post_ids, batch.negative_post_ids])
        authors = np.concatenate([batch.positive_author_ids, batch.negative_author_ids])
        _, labels = np.unique(ids, return_inverse=True)  # JAX's integers have 32 bits
        return (
            hide_context(context_inputs(self.config, batch), self.options, rng),
            hide(post_hashes(self.config, ids), self.options.post_dropout, rng),
            author_hashes(self.config, authors),
            labels.astype(np.int32),
            batch.positive_log_q,
            batch.negative_log_q,
            batch.weight,
        )

    def hashes(self, inputs: Inputs) -> Hashes:
        context, posts, authors, *_ = inputs
        return {
            "user": (context.user_hashes,),
            "post": (context.history_post_hashes, posts),
            "author": (context.history_author_hashes, authors),
        }

    def loss(self, dense: Any, rows: Rows, inputs: Inputs) -> tuple[Array, Parts]:
        context, _, _, labels, positive_log_q, negative_log_q, weight = inputs
        model = RetrievalModel(self.config)
        context_rows = ContextRows(rows["user"][0], rows["post"][0], rows["author"][0])
        users = model.user_rows(dense, context_rows, context)
        posts = model.candidate_rows(dense, CandidateRows(rows["post"][1], rows["author"][1]))
        batch = users.shape[0]
        return retrieval_loss(
            users,
            posts[:batch],
            posts[batch:],
            model.scale(dense),
            labels[:batch],
            labels[batch:],
            positive_log_q,
            negative_log_q,
            weight,
        )


def warm_start(params: Mapping[str, Any], ranker: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a retrieval model, with all that a ranker has under the same name and shape.

    Both read viewers and posts through the same tables and the same trunk; a ranker learns them
    from every impression, retrieval from the positive ones alone. ValueError: no table fits.
    """
    if all(ranker["tables"][n].shape != table.shape for n, table in params["tables"].items()):
        raise ValueError(
            "the ranker to begin with is of another size: none of its tables fits this model; "
            "train both with the same preset"
        )
    dense = {
        module: {
            name: _matching(value, ranker["dense"].get(f"ranker{module[len('retrieval') :]}"), name)
            for name, value in named.items()
        }
        for module, named in params["dense"].items()
    }
    tables = {
        name: _matching(table, ranker["tables"], name) for name, table in params["tables"].items()
    }
    return {"dense": dense, "tables": tables}


def _matching(value: Any, others: Mapping[str, Any] | None, name: str) -> Any:
    other = None if others is None else others.get(name)
    return jnp.array(other) if other is not None and other.shape == value.shape else value


def hide(hashes: Any, share: float, rng: np.random.Generator) -> Any:
    """Hash rows [..., J] with a random share of ids turned into padding.

    New ids have no trained rows; a model that always sees rows would not know what to do.
    """
    kept = rng.random(hashes.shape[:-1], np.float32) >= share
    return hashes * kept[..., None]


def hide_context(
    context: ContextInputs, options: TrainingOptions, rng: np.random.Generator
) -> ContextInputs:
    """Viewers and history posts hidden; authors never, since they are how new posts are known."""
    return context._replace(
        user_hashes=hide(context.user_hashes, options.user_dropout, rng),
        history_post_hashes=hide(context.history_post_hashes, options.post_dropout, rng),
    )


def _base_logits(impressions: Impressions) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[A + 1]: log-odds of every action among the targets, and softplus⁻¹ of the mean log dwell."""
    targets = impressions.weight > 0
    known = impressions.labels_known[targets]
    taken = (impressions.labels[targets] * known).sum(axis=0)
    rates = np.clip(taken / np.maximum(known.sum(axis=0), 1), RATE_MIN, 1 - RATE_MIN)
    dwell = impressions.dwell_seconds[targets]
    dwell = dwell[np.isfinite(dwell)]
    mean_log = float(np.log1p(dwell).mean()) if len(dwell) else 0.0
    dwell_bias = np.log(np.expm1(max(mean_log, 0.05)))
    return np.append(np.log(rates / (1 - rates)), dwell_bias).astype(np.float32)
