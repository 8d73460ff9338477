"""Names and positions of the actions, derived from the one enum in ``protos/actions.proto``.

Position = enum number − 1 = index into a model's output.
"""

from __future__ import annotations

from typing import Final

from protos import actions_pb2

_PREFIX = "ACTION_"


def _names() -> tuple[str, ...]:
    values = sorted(actions_pb2.Action.DESCRIPTOR.values, key=lambda value: value.number)
    return tuple(value.name.removeprefix(_PREFIX).lower() for value in values if value.number > 0)


ACTION_NAMES: Final[tuple[str, ...]] = _names()
ACTION_INDEX: Final[dict[str, int]] = {name: i for i, name in enumerate(ACTION_NAMES)}
ACTION_LIST_VERSION: Final[int] = int(actions_pb2.ACTION_LIST_VERSION_CURRENT)
CONTINUOUS_ACTIONS: Final[frozenset[str]] = frozenset({"dwell_time", "click_dwell_time"})
MODEL_ACTIONS: Final[tuple[str, ...]] = tuple(
    name for name in ACTION_NAMES if name not in CONTINUOUS_ACTIONS
)[:18]  # the discrete heads that the released models predict, January 2026
