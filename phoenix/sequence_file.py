"""The JSON input of `run_ranker.py` and `run_retrieval.py`: a viewer, their history, candidates.

    {"user_id": 7,
     "now_ms": 1795000000000,
     "history": [{"post_id": 1, "author_id": 2, "actions": ["favorite"], "dwell_seconds": 12.5,
                  "acted_at_ms": 1794990000000}],
     "candidates": [{"post_id": 3, "author_id": 2, "author": "ada", "text": "..."}]}

History is oldest first. `actions` may also be an object {name: 1}. Optional: `now_ms` (without it
ages are unknown), `dwell_seconds`, `acted_at_ms`, and `author` and `text`, which are only shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from phoenix.config import ModelConfig
from phoenix.features import CandidateInputs, ContextInputs, candidate_inputs, context_inputs
from service_kit.snowflake import FIRST_SNOWFLAKE_ID, timestamp_ms

HOME_SURFACE = 1  # PRODUCT_SURFACE_HOME_TIMELINE_RANKING


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One post that the viewer reacted to."""

    post_id: int
    author_id: int
    actions: tuple[str, ...]
    dwell_seconds: float  # 0: unknown
    acted_at_ms: int  # 0: unknown


# Stands in an empty history, masked: the model's arrays have at least one slot.
NO_EVENT = HistoryEvent(0, 0, (), 0.0, 0)


@dataclass(frozen=True, slots=True)
class Post:
    """One candidate."""

    post_id: int
    author_id: int
    author: str
    text: str


@dataclass(frozen=True, slots=True)
class ViewerSequence:
    """What the runners read."""

    user_id: int
    now_ms: int  # 0: unknown
    history: tuple[HistoryEvent, ...]
    candidates: tuple[Post, ...]

    @classmethod
    def read(cls, path: Path) -> ViewerSequence:
        """ValueError names the file, the place in it and what was expected there."""
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} must hold an object with user_id, history and candidates")
        return cls(
            user_id=_integer(values, "user_id", f"{path}"),
            now_ms=_integer(values, "now_ms", f"{path}", default=0),
            history=tuple(
                _event(value, f"{path}: history[{i}]") for i, value in _items(values, "history")
            ),
            candidates=tuple(
                _post(value, f"{path}: candidates[{i}]")
                for i, value in _items(values, "candidates")
            ),
        )

    def context(self, config: ModelConfig) -> ContextInputs:
        """The newest events that the model can hold. ValueError: an action it does not know."""
        events = self.history[-config.history_length :] or (NO_EVENT,)
        actions = np.zeros((1, len(events), config.num_actions), np.float32)
        for slot, event in enumerate(events):
            actions[0, slot] = _multi_hot(event, config)
        raw = SimpleNamespace(
            viewer_ids=np.array([self.user_id], np.int64),
            history_post_ids=_row([event.post_id for event in events]),
            history_author_ids=_row([event.author_id for event in events]),
            history_actions=actions,
            history_dwell_seconds=np.array([[e.dwell_seconds for e in events]], np.float32),
            history_surface=np.full((1, len(events)), HOME_SURFACE),
            history_age_seconds=np.array(
                [[self._age_seconds(e.acted_at_ms) for e in events]], np.float32
            ),
            history_mask=np.array([[event is not NO_EVENT for event in events]]),
        )
        return context_inputs(config, raw)

    def candidate_inputs(self, config: ModelConfig) -> CandidateInputs:
        posts = self.candidates
        ages = [
            self._age_seconds(timestamp_ms(p.post_id) if p.post_id >= FIRST_SNOWFLAKE_ID else 0)
            for p in posts
        ]
        raw = SimpleNamespace(
            candidate_post_ids=_row([post.post_id for post in posts]),
            candidate_author_ids=_row([post.author_id for post in posts]),
            candidate_surface=np.full((1, len(posts)), HOME_SURFACE),
            candidate_age_seconds=np.array([ages], np.float32),
        )
        return candidate_inputs(config, raw)

    def _age_seconds(self, at_ms: int) -> float:
        return max(self.now_ms - at_ms, 0) / 1_000 if self.now_ms and at_ms else -1.0


def _event(value: Any, where: str) -> HistoryEvent:
    values = _object(value, where)
    actions = values.get("actions", [])
    names = [n for n, on in actions.items() if on] if isinstance(actions, Mapping) else actions
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}.actions must be a list of names, not {actions!r}")
    dwell = values.get("dwell_seconds", 0.0)
    if not isinstance(dwell, int | float) or not 0 <= dwell < math.inf:
        raise ValueError(
            f"{where}.dwell_seconds must be a finite number of at least 0, not {dwell!r}"
        )
    return HistoryEvent(
        post_id=_integer(values, "post_id", where),
        author_id=_integer(values, "author_id", where),
        actions=tuple(names),
        dwell_seconds=float(dwell),
        acted_at_ms=_integer(values, "acted_at_ms", where, default=0),
    )


def _post(value: Any, where: str) -> Post:
    values = _object(value, where)
    return Post(
        post_id=_integer(values, "post_id", where),
        author_id=_integer(values, "author_id", where),
        author=str(values.get("author", "")),
        text=str(values.get("text", "")),
    )


def _multi_hot(event: HistoryEvent, config: ModelConfig) -> np.ndarray[Any, Any]:
    unknown = sorted(set(event.actions) - set(config.action_names))
    if unknown:
        raise ValueError(
            f"the history of post {event.post_id} has actions {unknown}; the model knows "
            f"{', '.join(config.action_names)}"
        )
    return np.array([name in event.actions for name in config.action_names], np.float32)


def _items(values: Mapping[str, Any], name: str) -> list[tuple[int, Any]]:
    items = values.get(name, [])
    if not isinstance(items, list):
        raise ValueError(f"{name} must be a list, not {type(items).__name__}")
    return list(enumerate(items))


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, not {type(value).__name__}")
    return value


def _integer(values: Mapping[str, Any], name: str, where: str, default: int | None = None) -> int:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{where}: {name} must be an integer from 0 to 2^63 − 1, not {value!r}")
    return value


def _row(ids: list[int]) -> np.ndarray[Any, Any]:
    return np.array([ids], np.int64)
