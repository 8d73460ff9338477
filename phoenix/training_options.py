"""How to train, as opposed to what (`phoenix.config`): budgets, rates, checkpoints, progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

POSITIVE = (
    "steps", "seconds", "batch_size", "candidates", "checkpoint_every_steps",
    "checkpoint_every_seconds", "keep", "devices", "model_devices",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Set `steps`, `seconds`, or both; the first to be reached ends the training."""

    steps: int | None = None
    seconds: float | None = None
    batch_size: int = 64  # contexts a step
    candidates: int = 20  # impressions per context
    learning_rate: float = 1e-2  # of the dense parameters, at its peak
    table_learning_rate: float = 0.05  # of the hash embedding rows
    weight_decay: float = 1e-4  # of the dense matrices
    warmup_steps: int = 50
    final_rate_fraction: float = 0.05  # the cosine schedule ends at this share of the peak
    # A checkpoint holds the mean of the dense parameters over the last steps, each of them counting
    # this much less than the next (phoenix.train_step); 0: the last parameters.
    average_decay: float = 0.0
    action_weights: Mapping[str, float] = field(default_factory=dict)  # loss weight; 1 if absent
    # Of the dwell regression beside the actions. Deviation: 0.1 in the original (2026-08); seconds
    # are known for every impression and tell tastes apart soonest.
    dwell_weight: float = 1.0
    # Of the softmax among the candidates of one context, beside the cross-entropy of each: it
    # learns the order within a viewer alone.
    listwise_weight: float = 0.0
    post_dropout: float = 0.5  # share of posts whose own rows are hidden: new posts have none
    user_dropout: float = 0.3  # share of viewers hidden: new viewers have no rows
    positive_actions: tuple[str, ...] = ("favorite", "reply", "repost", "quote", "share")
    uniform_negatives: int = 256  # retrieval: posts drawn evenly from the corpus, a step
    seed: int = 0
    checkpoint_every_steps: int | None = None  # None: only at the end
    checkpoint_every_seconds: float | None = None  # beside it: also after so much time
    keep: int | None = None  # of this run's versions, the newest; None: all
    keep_state: bool = True  # with optimiser and data position, to resume
    optimizer: Literal["adamw", "muon"] = "adamw"  # of the dense parameters (phoenix.optimizers)
    devices: int | None = None  # of the mesh (phoenix.mesh); None: all
    model_devices: int = 1  # of them, along the model axis: tables only, a batch is cut by the rest
    host_tables: str | None = None  # directory for tables on the host (phoenix.host_tables)
    host_table_mb_min: float = 1_024.0  # tables of so many MB and more go there

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("training needs a budget: set steps, seconds or both")
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if not 0.0 <= self.average_decay < 1.0:
            raise ValueError(f"average_decay must be from 0 to below 1, not {self.average_decay}")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer must be adamw or muon, not {self.optimizer!r}")


def demo_ranker_options(**changes: Any) -> TrainingOptions:
    """For two days of a small community, where nearly every post is new when it is scored.

    Pass `steps` or `seconds`. On the synthetic world (2,000 viewers, 230,000 impressions) some 700
    steps give most of what is to be had; tables at half or twice the rate learn clearly less.
    """
    return TrainingOptions(**{"post_dropout": 0.8, **changes})


def demo_retrieval_options(**changes: Any) -> TrainingOptions:
    """Beside `demo_ranker_options`; begin with the ranker's parameters (`train_retrieval`)."""
    return TrainingOptions(**{"batch_size": 128, **changes})


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One line of progress."""

    step: int
    loss: float  # mean since the last event
    elapsed_seconds: float
    remaining_seconds: float
    fraction: float  # of the budget, 0 to 1
    skipped_steps: int  # of non-finite gradients, since the start


class Progress(Protocol):
    """Called every few steps and at the end; `foryou` draws a bar with it."""

    def __call__(self, event: ProgressEvent) -> None: ...


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of this process's run, its first two steps (compilation) left out; all devices together."""

    devices: int
    examples_per_second: float  # targets of weight > 0
    tokens_per_second: float  # viewers, history events and candidates that are no padding
    step_ms_p50: float
    step_ms_p99: float
    input_wait_share: float  # of the time, at most: building a batch with the devices idle
    flops_per_step: float | None  # by XLA's count; None: the backend gives none

    @property
    def flops_per_second(self) -> float | None:
        if self.flops_per_step is None:
            return None
        return self.flops_per_step / (self.step_ms_p50 / 1_000)

    @property
    def device_hours_per_million(self) -> float:
        """Device hours for a million examples."""
        return self.devices * 1e6 / self.examples_per_second / 3_600


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run leaves."""

    checkpoint_path: Any  # Path of the last version
    model_version: str
    steps: int
    skipped_steps: int
    final_loss: float
    seconds: float
    step_ms: float  # median, compilation excluded
    stopped: bool = False  # asked to end before the budget was spent; resume to go on
    throughput: Throughput | None = None  # None: no step was taken
