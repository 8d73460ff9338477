"""Maps a ranker's probabilities to the rates at which later actions came, head by head.

Every map is strictly increasing, so the order within a head stays as the model has it. It works on
logits x = log(p / (1 − p)):

* identity: x;
* Platt: slope · x + intercept (Platt 1999; slope alone is a temperature), with a prior towards the
  identity, which rare actions keep and frequent ones overrule;
* isotonic: straight lines through the centres of the blocks of pool adjacent violators (Ayer et al.
  1955; Zadrozny & Elkan 2002), each block's rate drawn towards Platt's by SHRINKAGE rows; level
  out to the first and the last row, but for RISE_MIN, and of slope 1 beyond.

`fit` chooses among the three by log loss on folds of users that were held out of the fit; where two
are equally good the simpler stays.

N rows, A actions, K knots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FORMAT_VERSION = 1
FOLDS = 5
SLOPE_STDDEV, INTERCEPT_STDDEV = 0.3, 0.5  # of Platt's prior: how far a map may be from identity
SHRINKAGE = 50.0  # rows of prior in a block of the isotonic map
NEWTON_STEPS = 50  # at most; it takes some six
LOGIT_LIMIT = 30.0  # beyond, float32 probabilities are 0 or 1
LEVEL_LIMIT = 3.0  # logits that a level may be shifted by: a factor of twenty in a small rate
BISECTIONS = 40  # to a millionth of a millionth of a logit
RISE_MIN = 1e-3  # slope of the isotonic map between two knots, at least

Kind = Literal["identity", "platt", "isotonic"]
KINDS: tuple[Kind, ...] = ("identity", "platt", "isotonic")  # the simplest first
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """One action's map: from knots to knots, straight lines between, `slope` beyond."""

    kind: Kind = "identity"
    slope: float = 1.0  # beyond the knots; the whole map where there is one knot
    inputs: tuple[float, ...] = (0.0,)  # K logits, ascending
    outputs: tuple[float, ...] = (0.0,)  # K logits, ascending

    def __post_init__(self) -> None:
        numbers = np.array([self.slope, *self.inputs, *self.outputs])
        _require(self.kind in KINDS, f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        _require(bool(np.isfinite(numbers).all()), "a map's numbers must be finite")
        _require(self.slope > 0, f"slope must be above 0, not {self.slope}")
        _require(len(self.inputs) == len(self.outputs) >= 1, "knots need an input and an output")
        for name, knots in (("inputs", self.inputs), ("outputs", self.outputs)):
            _require(bool((np.diff(knots) > 0).all()), f"{name} of knots must ascend")

    def __call__(self, logits: ArrayLike) -> _Floats:
        """Logits of any shape."""
        x = np.asarray(logits, dtype=np.float64)
        low, high = self.inputs[0], self.inputs[-1]
        between = np.interp(x, self.inputs, self.outputs)
        beyond = np.minimum(x - low, 0.0) + np.maximum(x - high, 0.0)
        return np.asarray(between + self.slope * beyond)

    def shifted(self, logits: float) -> Head:
        """The same map, higher by so many logits; an identity becomes Platt's with slope 1."""
        kind: Kind = "platt" if self.kind == "identity" else self.kind
        outputs = tuple(output + logits for output in self.outputs)
        return Head(kind, self.slope, self.inputs, outputs)


@dataclass(frozen=True)
class Calibration:
    """A map for each action by name; actions that it does not name stay as they are."""

    heads: Mapping[str, Head] = field(default_factory=dict)

    @property
    def is_identity(self) -> bool:
        return all(head.kind == "identity" for head in self.heads.values())

    def probabilities(self, action_names: Sequence[str], raw: ArrayLike) -> _Floats:
        """Calibrated probabilities [N, A] of raw ones; 0 and 1 stay."""
        values = np.asarray(raw, dtype=np.float64)
        result = values.copy()
        for at, head in self._changed(action_names):
            inside = (values[..., at] > 0) & (values[..., at] < 1)
            found = head(to_logits(values[..., at][inside]))
            column = values[..., at].copy()
            column[inside] = to_probabilities(found)
            result[..., at] = column
        return result

    def log_probs(
        self, action_names: Sequence[str], raw: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Calibrated log probabilities [..., A] of raw ones; the same array where none changes."""
        changed = self._changed(action_names)
        if not changed:
            return raw
        result = raw.copy()
        for at, head in changed:
            logits = head(_logits_of_log(raw[..., at]))
            result[..., at] = -np.logaddexp(0.0, -logits)
        return result

    def to_json(self) -> str:
        heads = {
            name: {
                "kind": head.kind,
                "slope": head.slope,
                "inputs": list(head.inputs),
                "outputs": list(head.outputs),
            }
            for name, head in self.heads.items()
        }
        return json.dumps({"format_version": FORMAT_VERSION, "heads": heads}, indent=1)

    @staticmethod
    def from_json(text: str) -> Calibration:
        """Read what `to_json` wrote; ValueError says what is wrong with another text."""
        values = json.loads(text)
        version = values.get("format_version") if isinstance(values, dict) else None
        _require(
            version == FORMAT_VERSION,
            f"calibration of format version {version}, this program reads {FORMAT_VERSION}; "
            "calibrate again or use the matching release",
        )
        try:
            return Calibration({name: _head(given) for name, given in values["heads"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"calibration is incomplete: {error!r}") from error

    def _changed(self, action_names: Sequence[str]) -> list[tuple[int, Head]]:
        named = ((at, self.heads.get(name)) for at, name in enumerate(action_names))
        return [(at, head) for at, head in named if head and head.kind != "identity"]


class Choice(NamedTuple):
    """What `fit` found for one action."""

    head: Head
    log_losses: dict[str, float]  # of each kind, on held-out users


def fit(
    users: ArrayLike, labels: ArrayLike, raw: ArrayLike, *, seed: int = 0, folds: int = FOLDS
) -> Choice:
    """Choose and fit one action's map; `raw` [N] are probabilities of rows never trained on.

    With one label only there is nothing to learn, and the identity stays.
    """
    y, x = np.asarray(labels, dtype=np.float64), to_logits(np.asarray(raw, dtype=np.float64))
    if len(np.unique(y)) < 2:
        return Choice(Head(), {})
    index = np.unique(np.asarray(users), return_inverse=True)[1]
    fold = np.random.default_rng(seed).integers(0, folds, int(index.max()) + 1)[index]
    losses = {kind: _held_out_loss(kind, x, y, fold) for kind in KINDS}
    best = min(KINDS, key=lambda kind: losses[kind])  # the first of equals
    return Choice(fit_kind(best, x, y), {str(kind): loss for kind, loss in losses.items()})


def at_level(head: Head, labels: ArrayLike, probabilities: ArrayLike) -> Head:
    """`head`, shifted until the mean of what it makes of raw probabilities [N] is the labels' rate.

    The shape of a map is learned from rows that a model has not seen; the level of a head differs
    from training to training by more than a day's drift, so each model takes its own. Where all
    labels are one value there is no level: the map stays.
    """
    y = np.asarray(labels, dtype=np.float64)
    if len(y) == 0 or y.min() == y.max():
        return head
    mapped = head(to_logits(np.asarray(probabilities, dtype=np.float64)))
    low, high = -LEVEL_LIMIT, LEVEL_LIMIT
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_low = to_probabilities(mapped + middle).mean() < y.mean()
        low, high = (middle, high) if too_low else (low, middle)
    return head.shifted((low + high) / 2)


def fit_kind(kind: Kind, logits: _Floats, labels: _Floats) -> Head:
    """One kind of map, fitted on logits [N] and labels [N]."""
    if kind == "identity":
        return Head()
    slope, intercept = _platt(logits, labels)
    platt = Head("platt", slope, (0.0,), (intercept,))
    return platt if kind == "platt" else _isotonic(logits, labels, platt)


def pool_adjacent_violators(values: _Floats, weights: _Floats) -> _Floats:
    """The nearest non-decreasing sequence [N] to `values` by weighted squares."""
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values, weights, strict=True):
        means.append(float(value))
        masses.append(float(weight))
        counts.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            mass = masses[-2] + masses[-1]
            means[-2:] = [(means[-2] * masses[-2] + means[-1] * masses[-1]) / mass]
            masses[-2:] = [mass]
            counts[-2:] = [counts[-2] + counts[-1]]
    return np.repeat(means, counts)


def to_logits(probabilities: _Floats) -> _Floats:
    """log(p / (1 − p)), within ±LOGIT_LIMIT."""
    kept = np.clip(probabilities, np.exp(-LOGIT_LIMIT), 1 - 1e-13)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def to_probabilities(logits: _Floats) -> _Floats:
    """1 / (1 + exp(−x)) without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


def _held_out_loss(kind: Kind, x: _Floats, y: _Floats, fold: NDArray[np.int64]) -> float:
    total = 0.0
    for held_out in np.unique(fold):
        mine = fold != held_out
        found = fit_kind(kind, x[mine], y[mine])(x[~mine])
        total += float((np.logaddexp(0.0, found) - y[~mine] * found).sum())
    return total / len(y)


def _platt(x: _Floats, y: _Floats) -> tuple[float, float]:
    """Slope and intercept of the greatest posterior, by Newton's method; the slope stays above 0.

    The intercept's prior stands at the mean logit, where it is independent of the slope's.
    """
    centre = float(x.mean())
    inputs = np.stack([x - centre, np.ones_like(x)], axis=1)
    prior = np.diag([SLOPE_STDDEV**-2.0, INTERCEPT_STDDEV**-2.0])
    start = np.array([1.0, centre])
    found = start.copy()
    for _ in range(NEWTON_STEPS):
        p = to_probabilities(inputs @ found)
        slope = inputs.T @ (p - y) + prior @ (found - start)
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + prior
        step = np.linalg.solve(curvature, slope)
        found = found - step
        if np.abs(step).max() < 1e-10:
            break
    slope_value = max(float(found[0]), 0.05)  # a model that orders backwards stays in its order
    return slope_value, float(found[1]) - slope_value * centre


def _isotonic(x: _Floats, y: _Floats, platt: Head) -> Head:
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    inputs, row = np.unique(x, return_inverse=True)
    weights = np.bincount(row).astype(np.float64)
    steps = pool_adjacent_violators(np.bincount(row, weights=y) / weights, weights)
    block = np.cumsum(np.concatenate([[False], np.diff(steps) > 0])).astype(np.int64)
    mass = np.bincount(block, weights=weights).astype(np.float64)
    centres = np.bincount(block, weights=weights * inputs) / mass
    expected = np.bincount(block, weights=weights * to_probabilities(platt(inputs))) / mass
    rates = (np.bincount(block, weights=weights * steps) + SHRINKAGE * expected) / (
        mass + SHRINKAGE
    )
    rates = pool_adjacent_violators(rates, mass)
    outputs = to_logits(np.clip(rates, 1e-9, 1 - 1e-9))
    # The outermost blocks reach to the outermost rows; only beyond is nothing known.
    ends = np.concatenate([inputs[:1], centres, inputs[-1:]])
    kept = np.concatenate([inputs[:1] < centres[:1], np.ones(len(centres), np.bool_),
                           inputs[-1:] > centres[-1:]])  # fmt: skip
    return _through(ends[kept], np.concatenate([outputs[:1], outputs, outputs[-1:]])[kept])


def _through(inputs: _Floats, outputs: _Floats) -> Head:
    """Knots that rise by at least RISE_MIN of slope, so that no two inputs meet."""
    tilted = outputs + RISE_MIN * (inputs - inputs.mean())
    return Head("isotonic", 1.0, tuple(inputs.tolist()), tuple(tilted.tolist()))


def _logits_of_log(log_probs: NDArray[np.float32]) -> _Floats:
    below = np.minimum(log_probs.astype(np.float64), -1e-13)
    return np.asarray(np.maximum(below, -LOGIT_LIMIT) - np.log(-np.expm1(below)))


def _head(given: Mapping[str, Any]) -> Head:
    return Head(
        given["kind"], float(given["slope"]), tuple(given["inputs"]), tuple(given["outputs"])
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
