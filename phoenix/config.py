"""Model configurations: what a checkpoint stores beside its arrays, and the presets.

A configuration says everything that shapes the parameters or the meaning of the inputs, so that a
checkpoint can be served by anyone who holds it. It says nothing of training (see
`phoenix.training_options`) or deployment.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from service_kit.action_list import ACTION_LIST_VERSION, MODEL_ACTIONS

NUM_SURFACES = 16  # categories of the original's product surface table
_ALWAYS_STORED = frozenset({"action_names", "action_list_version"})  # they say what outputs mean
Precision = Literal["checkpoint", "float32", "bfloat16", "int8"]  # of a ranker in service
MAX_HASHES = 2  # hash functions with published constants (upstream, May 2026)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What both models share. Widths in floats, tables in rows (row 0 is padding)."""

    width: int = 64  # D, of the residual stream
    layers: int = 2
    heads: int = 2  # H, query heads
    kv_heads: int = 2  # G, key and value heads; divides `heads`
    key_size: int = 32  # K, of one head; even, for the rotation
    widening: float = 2.0  # of the feed-forward layer, before the gated-unit rule
    history_length: int = 32  # longest S that is ever encoded
    embedding_width: int = 32  # E, of one table row
    num_hashes: int = 2  # rows looked up for one id
    user_rows: int = 8_192
    post_rows: int = 16_384
    author_rows: int = 4_096
    action_names: tuple[str, ...] = MODEL_ACTIONS  # A, in the order of the labels
    num_surfaces: int = NUM_SURFACES
    post_age_granularity_minutes: int = 60
    post_age_max_minutes: int = 4_800
    causal: bool = False  # True: the original's mask over viewer and history
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # of matrix operands; sums: float32
    action_list_version: int = ACTION_LIST_VERSION

    def __post_init__(self) -> None:
        positive = ("width", "layers", "heads", "kv_heads", "key_size", "history_length")
        for name in (*positive, "embedding_width", "num_surfaces", "post_age_granularity_minutes"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1")
        for name in ("user_rows", "post_rows", "author_rows"):
            _require(getattr(self, name) >= 2, f"{name} must be at least 2 (row 0 is padding)")
        _require(self.heads % self.kv_heads == 0, "heads must be a multiple of kv_heads")
        _require(self.key_size % 2 == 0, "key_size must be even (rotary pairs)")
        _require(1 <= self.num_hashes <= MAX_HASHES, f"num_hashes must be 1 to {MAX_HASHES}")
        _require(len(self.action_names) >= 1, "action_names must name at least one action")
        _require(
            len(set(self.action_names)) == len(self.action_names), "action_names must be distinct"
        )
        _require(
            self.compute_dtype in ("float32", "bfloat16"),
            f"compute_dtype must be float32 or bfloat16, not {self.compute_dtype!r}",
        )

    @property
    def num_actions(self) -> int:
        return len(self.action_names)

    @property
    def post_age_buckets(self) -> int:
        """Size of the post age vocabulary: unknown, one bucket per granule, and older."""
        return self.post_age_max_minutes // self.post_age_granularity_minutes + 2

    def to_json(self) -> str:
        return json.dumps({"model": type(self).__name__, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; fields that came later are at their defaults.

        ValueError: another model's configuration, or fields that this release does not know.
        """
        values: dict[str, Any] = json.loads(text)
        model = values.pop("model", None)
        _require(model == cls.__name__, f"expected the configuration of a {cls.__name__}: {model}")
        known = {field.name for field in fields(cls)}
        unknown, missing = set(values) - known, _ALWAYS_STORED - set(values)
        _require(
            not unknown and not missing,
            f"configuration fields differ: unknown {sorted(unknown)}, missing {sorted(missing)}; "
            "train again or use the matching release",
        )
        # A field that is younger than the checkpoint has a default that keeps what it did.
        values["action_names"] = tuple(values["action_names"])
        config = cls(**values)
        _require(
            config.action_list_version == ACTION_LIST_VERSION,
            f"trained on action list version {config.action_list_version}, this program speaks "
            f"{ACTION_LIST_VERSION}; train again or use the matching release",
        )
        return config

    def with_actions(self, action_names: tuple[str, ...]) -> Self:
        return replace(self, action_names=action_names)


@dataclass(frozen=True, slots=True)
class RankerConfig(ModelConfig):
    """The ranker: every action's probability and the expected dwell for each candidate."""

    author_match: bool = True  # feed a candidate the viewer's past actions on the same author
    profile_channels: int = 4  # M, of the taste profile that candidates are multiplied with
    dwell_scale_seconds: float = 30.0  # of the dwell input of history (upstream, May 2026)
    tag_rows: int = 0  # of the table of content tags; 0: the model reads none
    tags_max: int = 2  # G, tags of a post that are read; more are dropped
    durations: bool = False  # read how long a post runs: as a bucket, and against its dwell
    time_of_day: bool = False  # read the hour (UTC) at which the candidates are asked for
    rates: bool = False  # read smoothed past rates of every action: `phoenix.data.rates`
    content_width: int = 0  # W, of the posts' content vectors; 0: the model reads none
    wide_action: str = ""  # whose logit has a factorisation machine beside it: `phoenix.wide`
    wide_width: int = 16  # K, factors of that machine
    wide_share: float = 0.65  # of it in that logit, the network has the rest (docs/ranking.md)

    def __post_init__(self) -> None:
        ModelConfig.__post_init__(self)
        _require(self.tag_rows == 0 or self.tag_rows >= 2, "tag_rows must be 0 or at least 2")
        _require(self.tags_max >= 1, "tags_max must be at least 1")
        _require(self.content_width >= 0, "content_width must not be negative")
        _require(
            self.wide_action in ("", *self.action_names),
            f"wide_action must be empty or one of {', '.join(self.action_names)}, "
            f"not {self.wide_action!r}",
        )
        _require(self.wide_width >= 1, "wide_width must be at least 1")
        _require(0 < self.wide_share <= 1, "wide_share must be above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class RetrievalConfig(ModelConfig):
    """Two towers into one space of unit vectors."""

    output_width: int = 64  # of the unit vectors
    pool: Literal["mean", "last"] = "mean"  # over the viewer's tokens
    profile_channels: int = 4  # M, of the taste profile beside the pooled tokens
    dwell_scale_seconds: float = 30.0

    def __post_init__(self) -> None:
        ModelConfig.__post_init__(self)
        _require(self.output_width >= 1, "output_width must be at least 1")
        _require(self.pool in ("mean", "last"), f"pool must be mean or last, not {self.pool!r}")


_PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "key_size": 8, "history_length": 8,
        "embedding_width": 8, "user_rows": 64, "post_rows": 128, "author_rows": 64,
    },
    "demo": {
        "width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "key_size": 16, "history_length": 96,
        "embedding_width": 32, "user_rows": 8_192, "post_rows": 16_384, "author_rows": 4_096,
    },
    "mid": {
        "width": 256, "layers": 4, "heads": 4, "kv_heads": 4, "key_size": 64,
        "history_length": 128, "embedding_width": 64, "user_rows": 262_144,
        "post_rows": 524_288, "author_rows": 131_072,
    },
}  # fmt: skip
PRESET_NAMES = tuple(_PRESETS)


def ranker_preset(name: str, **changes: Any) -> RankerConfig:
    """`nano` (tests), `demo` (trains in half a minute on two cores) or `mid`."""
    return RankerConfig(**{**_preset(name), **changes})


def retrieval_preset(name: str, **changes: Any) -> RetrievalConfig:
    """As for the ranker; `demo` is one layer over 64 events: each positive has its own history."""
    smaller = {"layers": 1, "history_length": 64} if name == "demo" else {}
    return RetrievalConfig(**{**_preset(name), **smaller, **changes})


def _preset(name: str) -> dict[str, Any]:
    _require(name in _PRESETS, f"unknown preset {name!r}; one of {', '.join(PRESET_NAMES)}")
    return _PRESETS[name]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
