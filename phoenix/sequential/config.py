"""What shapes a sequential model, and how it is trained; both go into the checkpoint.

The names of the two classes' fields are distinct: `--set NAME=VALUE` reaches any of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from phoenix.layers import BlockStyle

Choice = tuple[str, ...]
CHOICES: dict[str, Choice] = {
    "norm": ("pre", "sandwich"),
    "positions": ("learned", "rotary", "both", "none"),
    "item_tower": ("tied", "mlp"),
    "item_init": ("random", "svd"),
    "compute_dtype": ("float32", "bfloat16"),
    "loss": ("full", "sampled", "gbce"),
    "sampling": ("uniform", "in_batch", "mixed"),
    "schedule": ("cosine", "constant"),
    "windows": ("tiled", "shifted", "newest"),
}


@dataclass(frozen=True, slots=True)
class SequentialConfig:
    """The model. Defaults are the best found on MovieLens-1M (docs/sequential.md)."""

    num_items: int  # V, of the catalogue; row 0 of the table is padding
    width: int = 96  # D, of the residual stream and of an item's row
    layers: int = 2
    heads: int = 1  # H
    widening: float = 2.0  # of the feed-forward layer, before the gated-unit rule
    history_length: int = 200  # longest T that is ever encoded; the newest are kept
    causal: bool = True  # False: a user is a set; all positions see one another and are pooled
    norm: Literal["pre", "sandwich"] = "pre"
    soft_cap: bool = False  # 30 · tanh(· / 30) on attention scores
    positions: Literal["learned", "rotary", "both", "none"] = "learned"  # counted from the newest
    unit_norm: bool = False  # cosine with a learned temperature instead of a dot product
    temperature: float = 0.06  # at the start, with unit_norm
    item_bias: bool = False  # a popularity term per item, beside the product
    item_tower: Literal["tied", "mlp"] = "tied"  # of items as targets: their rows, or an MLP of it
    item_stddev: float = 0.05  # of the rows at the start, without unit_norm
    item_init: Literal["random", "svd"] = "svd"  # svd: of neighbours (phoenix.sequential.item_rows)
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # of matrix operands; sums: float32

    def __post_init__(self) -> None:
        _check_choices(self)
        for name in ("width", "layers", "heads", "history_length"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1")
        require(self.num_items >= 2, f"num_items must be at least 2, not {self.num_items}")
        require(self.width % self.heads == 0, "width must be a multiple of heads")
        require(not self.rotary or self.key_size % 2 == 0, "width / heads must be even to rotate")
        require(self.temperature > 0, "temperature must be above 0")

    @property
    def key_size(self) -> int:
        return self.width // self.heads

    @property
    def kv_heads(self) -> int:
        return self.heads

    @property
    def rotary(self) -> bool:
        return self.positions in ("rotary", "both")

    @property
    def style(self) -> BlockStyle:
        # Halving what a layer first writes keeps a stack without outer norms calm at the start.
        scale = 0.5 if self.norm == "pre" else 1.0
        return BlockStyle(self.norm, self.soft_cap, self.rotary, scale)

    def to_json(self) -> str:
        return json.dumps({"model": type(self).__name__, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; fields with defaults may be missing. ValueError: others."""
        values: dict[str, Any] = json.loads(text)
        model = values.pop("model", None)
        require(model == cls.__name__, f"expected the configuration of a {cls.__name__}: {model}")
        unknown = set(values) - {field.name for field in fields(cls)}
        require(not unknown, f"unknown configuration fields: {sorted(unknown)}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class SequentialTraining:
    """How it learns."""

    loss: Literal["full", "sampled", "gbce"] = "full"
    negatives: int = 512  # a batch, shared by its targets; for the sampled losses
    sampling: Literal["uniform", "in_batch", "mixed"] = "mixed"
    log_q: bool = True  # correct a sampled softmax for how often an item is drawn
    gbce_t: float = 0.75  # of gBCE: 0 is plain BCE, 1 undoes the sampling (gSASRec)
    label_smoothing: float = 0.0
    dropout: float = 0.1  # of what layers write, and of the feed-forward layer inside
    embedding_dropout: float = 0.1
    attention_dropout: float = 0.0
    input_mask: float = 0.0  # share of input items that are hidden
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    schedule: Literal["cosine", "constant"] = "cosine"  # over `epochs`
    final_rate_fraction: float = 0.05
    beta2: float = 0.98
    weight_decay: float = 0.0  # decoupled, of matrices and tables
    clip_norm: float = 1.0
    ema: float = 0.0  # decay of an average of the parameters that is evaluated instead; 0: none
    epochs: int = 12
    tokens_per_batch: int = 3_200  # 16 rows of a whole history
    left_out: float = 0.3  # share of a set's items that are its targets; sets alone
    windows: Literal["tiled", "shifted", "newest"] = "tiled"  # of users longer than a history
    evaluate_every: int = 3  # epochs
    patience: int = 8  # evaluations without a better NDCG@10 on validation that end a training
    seconds: float = 0.0  # time budget, of training alone; 0: none. With one, a run is no function
    # of its seed: the schedule follows the clock.

    def __post_init__(self) -> None:
        _check_choices(self)
        for name in ("epochs", "tokens_per_batch", "evaluate_every", "patience", "negatives"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1")
        for name in ("dropout", "embedding_dropout", "attention_dropout", "input_mask", "ema"):
            value = getattr(self, name)
            require(0.0 <= value < 1.0, f"{name} must be at least 0 and below 1, not {value}")
        require(self.learning_rate > 0, "learning_rate must be above 0")
        require(0.0 <= self.gbce_t <= 1.0, "gbce_t must be 0 to 1")


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "width": 16, "layers": 1, "history_length": 16, "epochs": 8, "evaluate_every": 2,
        "tokens_per_batch": 512, "warmup_steps": 20, "dropout": 0.1, "embedding_dropout": 0.1,
        "learning_rate": 5e-3,
    },
    "base": {},
    "wide": {"width": 128, "learning_rate": 1.5e-3},
}  # fmt: skip
PRESET_NAMES = tuple(PRESETS)


def configure(
    num_items: int, changes: dict[str, Any]
) -> tuple[SequentialConfig, SequentialTraining]:
    """Both halves with the named changes. ValueError: an unknown field or value."""
    model, training = _names(SequentialConfig) - {"num_items"}, _names(SequentialTraining)
    unknown = set(changes) - model - training
    require(
        not unknown,
        f"unknown setting {', '.join(sorted(unknown))}; one of "
        f"{', '.join(sorted(model | training))}",
    )
    config = SequentialConfig(num_items, **{k: v for k, v in changes.items() if k in model})
    options = replace(SequentialTraining(), **{k: v for k, v in changes.items() if k in training})
    return config, options


def preset(name: str) -> dict[str, Any]:
    """Changes of a preset. ValueError: an unknown name."""
    require(name in PRESETS, f"unknown preset {name!r}; one of {', '.join(PRESET_NAMES)}")
    return dict(PRESETS[name])


def parse_setting(text: str) -> tuple[str, Any]:
    """`name=value` → the name and its value in the field's type. ValueError: what was expected."""
    name, equals, value = text.partition("=")
    require(bool(equals), f"--set {text!r}: expected NAME=VALUE")
    types = {f.name: str(f.type) for c in (SequentialConfig, SequentialTraining) for f in fields(c)}
    types.pop("num_items")
    require(name in types, f"unknown setting {name!r}; one of {', '.join(sorted(types))}")
    kind = types[name]
    try:
        if kind == "bool":
            return name, {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return name, {"int": int, "float": float}.get(kind, str)(value)
    except (KeyError, ValueError) as error:
        raise ValueError(f"--set {text!r}: expected a value of type {kind}") from error


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}


def _check_choices(settings: Any) -> None:
    for name in _names(type(settings)) & set(CHOICES):
        value = getattr(settings, name)
        require(value in CHOICES[name], f"{name} must be one of {CHOICES[name]}, not {value!r}")
