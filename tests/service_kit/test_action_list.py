"""One enum is the only list of actions; positions are part of every stored model."""

from __future__ import annotations

from protos import actions_pb2
from service_kit.action_list import (
    ACTION_INDEX,
    ACTION_NAMES,
    CONTINUOUS_ACTIONS,
    MODEL_ACTIONS,
)


def test_positions_are_enum_numbers_less_one() -> None:
    assert len(ACTION_NAMES) == 25
    for name, position in ACTION_INDEX.items():
        assert actions_pb2.Action.Value(f"ACTION_{name.upper()}") == position + 1


def test_the_released_order_is_kept() -> None:
    assert ACTION_NAMES[:2] == ("favorite", "reply")
    assert ACTION_NAMES[-1] == "not_dwelled"
    assert ACTION_NAMES[:18] == MODEL_ACTIONS
    assert {ACTION_NAMES[18], ACTION_NAMES[22]} == CONTINUOUS_ACTIONS
