"""A model's action lands in its own column."""

from home_mixer.columns import HEAD_COLUMNS, HEADS, SCHEMA
from home_mixer.scorers.head_columns import DWELL_TIME_COLUMN, PROBABILITY_COLUMNS
from protos import actions_pb2


def test_every_action_of_the_wire_has_the_column_of_its_name():
    for number, column in PROBABILITY_COLUMNS.items():
        assert column == f"p_{actions_pb2.Action.Name(number).removeprefix('ACTION_').lower()}"
        assert column in SCHEMA
    assert len(PROBABILITY_COLUMNS) == len(HEADS) - 2
    assert {DWELL_TIME_COLUMN, "p_click_dwell_time"} == (
        set(HEAD_COLUMNS) - set(PROBABILITY_COLUMNS.values())
    )
