"""Training: AdamW with warm-up and a cosine, an average of the weights, early stopping.

A run is a function of data, configuration and seed, unless it has a budget of seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from phoenix.dropout import Dropout
from phoenix.sequential.batches import Batch, epoch_batches
from phoenix.sequential.config import SequentialTraining
from phoenix.sequential.interactions import Sequences
from phoenix.sequential.item_rows import svd_rows
from phoenix.sequential.losses import Catalogue, Negatives, mean_loss
from phoenix.sequential.model import SequentialModel
from phoenix.sequential.negatives import NegativeSampler

Array = jax.Array
Params = dict[str, Any]
Validate = Callable[[Params], dict[str, float]]
BETA1 = 0.9
KEY_IMPLEMENTATION = "rbg"  # random bits at memory speed; threefry costs as much as a layer


class State(NamedTuple):
    params: Params
    moments: Any  # optax's
    average: Params | None  # with ema
    step: Array


Step = Callable[[State, Batch, Negatives, Array, Array], tuple[State, Array]]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What a training says after an epoch."""

    epoch: int  # from 1
    epochs: int
    step: int
    loss: float
    train_seconds: float
    validation: dict[str, float] | None
    best: bool


@dataclass(slots=True)
class Fit:
    """A finished training."""

    params: Params  # the best by validation, else the last; of the average, with ema
    epochs: int = 0  # that were run
    best_epoch: int = 0
    steps: int = 0
    targets: int = 0  # items that were predicted, over all epochs
    train_seconds: float = 0.0
    validation: dict[str, float] = field(default_factory=dict)  # of the best
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        return self.targets / max(self.train_seconds, 1e-9)


def fit(
    model: SequentialModel,
    sequences: Sequences,
    training: SequentialTraining,
    seed: int,
    *,
    validate: Validate | None = None,
    best_by: str = "NDCG@10",
    stop_after: int | None = None,
    step: Step | None = None,
    progress: Callable[[EpochReport], None] = lambda report: None,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> Fit:
    """Train until the epochs, the seconds or the patience end.

    `validate` gives measures of parameters; the parameters that are best by `best_by` are kept.
    `stop_after` ends the run early with the schedule of the whole: what a refit needs, to end at
    the learning rate at which the chosen parameters were. `step` (`make_step`) saves compiling it
    again for a further seed. ValueError: nothing to train on.
    """
    step = step or make_step(model, training)
    return _Fitter(model, sequences, training, seed, step, monotonic_s).run(
        validate, best_by, stop_after or training.epochs, progress
    )


class _Fitter:
    def __init__(
        self,
        model: SequentialModel,
        sequences: Sequences,
        training: SequentialTraining,
        seed: int,
        step: Step,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._model, self._sequences, self._training = model, sequences, training
        self._seed, self._monotonic_s = seed, monotonic_s
        self._key = jax.random.key(seed, impl=KEY_IMPLEMENTATION)
        self._sampler = NegativeSampler(sequences, model.config.num_items, training)
        self._state = _init_state(model, sequences, training, seed)
        self._step = step
        self._steps_an_epoch = sum(1 for _ in self._batches(0))
        if not self._steps_an_epoch:
            raise ValueError("no user has two items: there is nothing to train on")
        self._steps, self._seconds, self._losses = 0, 0.0, list[Array]()

    def run(
        self,
        validate: Validate | None,
        best_by: str,
        epochs: int,
        progress: Callable[[EpochReport], None],
    ) -> Fit:
        result, best, bad = Fit({}), -math.inf, 0
        for epoch in range(1, epochs + 1):
            result.targets += self._one_epoch(epoch)
            done = epoch == epochs or self._out_of_time()
            metrics = None
            if validate and (done or epoch % self._training.evaluate_every == 0):
                metrics = validate(self._chosen())
                improved = metrics[best_by] > best
                best, bad = max(best, metrics[best_by]), 0 if improved else bad + 1
            better = bad == 0 and metrics is not None
            done = done or bad >= self._training.patience
            if better or (done and validate is None):
                result.params, result.best_epoch = _host(self._chosen()), epoch
                result.validation = metrics or {}
            self._note(result, epoch, metrics, better, progress)
            if done:
                break
        return result

    def _one_epoch(self, epoch: int) -> int:
        """→ the number of targets that were trained on."""
        started = self._monotonic_s()
        before, targets, pending = self._seconds, 0, None
        for batch in self._batches(epoch):
            self._seconds = before + self._monotonic_s() - started
            loss = self._one_step(batch, np.random.default_rng([self._seed, epoch, self._steps]))
            targets += int((batch.targets > 0).sum())
            if pending is not None:  # the next batch is built while a step computes
                _wait(pending)
            pending = loss
            self._losses.append(loss)
            if self._out_of_time():
                break
        _wait(self._state)
        self._seconds = before + self._monotonic_s() - started
        return targets

    def _one_step(self, batch: Batch, rng: np.random.Generator) -> Array:
        negatives = self._sampler.draw(batch.targets, rng)
        rate = jnp.float32(self._rate())
        self._steps += 1
        self._state, loss = self._step(self._state, batch, negatives, self._key, rate)
        return loss

    def _batches(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self._seed, epoch])
        return epoch_batches(self._sequences, self._model.config, self._training, rng)

    def _rate(self) -> float:
        t = self._training
        warm = min(1.0, (self._steps + 1) / max(t.warmup_steps, 1))
        if t.schedule == "constant":
            return t.learning_rate * warm
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, self._fraction())))
        floor = t.final_rate_fraction
        return t.learning_rate * warm * (floor + (1.0 - floor) * cosine)

    def _fraction(self) -> float:
        t = self._training
        by_steps = self._steps / (self._steps_an_epoch * t.epochs)
        return max(by_steps, self._seconds / t.seconds if t.seconds else 0.0)

    def _out_of_time(self) -> bool:
        return bool(self._training.seconds) and self._seconds >= self._training.seconds

    def _chosen(self) -> Params:
        state = self._state
        return state.params if state.average is None else state.average

    def _note(
        self,
        result: Fit,
        epoch: int,
        metrics: dict[str, float] | None,
        best: bool,
        progress: Callable[[EpochReport], None],
    ) -> None:
        loss = float(np.mean([float(value) for value in self._losses]))
        self._losses.clear()
        result.epochs, result.steps, result.train_seconds = epoch, self._steps, self._seconds
        point = {"epoch": epoch, "step": self._steps, "elapsed_seconds": round(self._seconds, 1)}
        result.curve.append({**point, "loss": loss, **(metrics or {})})
        epochs, step, seconds = self._training.epochs, self._steps, self._seconds
        progress(EpochReport(epoch, epochs, step, loss, seconds, metrics, best))


def _init_state(
    model: SequentialModel, sequences: Sequences, training: SequentialTraining, seed: int
) -> State:
    c = model.config
    rows = None
    if c.item_init == "svd":
        near = sequences if c.causal else sequences.shuffled()
        rows = svd_rows(near, c.num_items, c.width)
    params = model.init(seed, rows)
    average = jax.tree.map(jnp.copy, params) if training.ema else None
    return State(params, _adam(training).init(params), average, jnp.int32(0))


def _adam(training: SequentialTraining) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(training.clip_norm),
        optax.scale_by_adam(b1=BETA1, b2=training.beta2),
    )


def make_step(model: SequentialModel, training: SequentialTraining) -> Step:
    """The compiled step: (state, batch, negatives, key, rate) → (next state, loss)."""
    adam = _adam(training)

    def step(
        state: State, batch: Batch, negatives: Negatives, key: Array, rate: Array
    ) -> tuple[State, Array]:
        value, gradient = jax.value_and_grad(batch_loss)(
            state.params, model, batch, negatives, training, jax.random.fold_in(key, state.step)
        )
        update, moments = adam.update(gradient, state.moments)
        decayed = training.weight_decay
        params = jax.tree.map(lambda p, u: _moved(p, u, rate, decayed), state.params, update)
        average = state.average
        if average is not None:
            # The average starts as a plain mean, so that it forgets the random start at once.
            decay = jnp.minimum(training.ema, state.step / (state.step + 10.0))
            average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
        return State(params, moments, average, state.step + 1), value

    compiled: Step = jax.jit(step, donate_argnums=0)
    return compiled


def batch_loss(
    params: Params,
    model: SequentialModel,
    batch: Batch,
    negatives: Negatives,
    training: SequentialTraining,
    key: Array | None,
) -> Array:
    """The mean loss of a batch; without a key there is no dropout."""
    rates = {
        "embedding": training.embedding_dropout, "attention": training.attention_dropout,
        "residual": training.dropout, "hidden": training.dropout,
    }  # fmt: skip
    drop = None if key is None else Dropout(key, rates)
    users = model.scaled(params, model.users(params, jnp.asarray(batch.history), drop))
    targets = jnp.asarray(batch.targets)
    if model.config.causal:  # each position is a user vector with one target
        users, targets = users.reshape(-1, users.shape[-1]), targets.reshape(-1, 1)
    catalogue = Catalogue(model.targets(params), model.bias(params))
    return mean_loss(users, targets, catalogue, negatives, training, model.config.compute_dtype)


def _moved(p: Array, update: Array, rate: Array, decay: float) -> Array:
    return p - rate * (update + (decay * p if p.ndim > 1 else 0.0))


def _wait(arrays: Any) -> None:
    jax.block_until_ready(arrays)  # type: ignore[no-untyped-call]


def _host(params: Params) -> Params:
    host: Params = jax.tree.map(np.array, params)
    return host
