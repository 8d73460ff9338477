"""Which column a model's action fills: the mapping that PhoenixScorer uses.

The wire names actions by ``foryou.actions.v1.Action``; the column of action a is ``p_<head>`` with
head = the enum's name in lower case. ``dwell_seconds`` of a prediction is the head ``dwell_time``.
"""

from __future__ import annotations

from typing import Final

from home_mixer.columns import HEAD_COLUMNS
from service_kit.action_list import ACTION_INDEX, CONTINUOUS_ACTIONS

DWELL_TIME_COLUMN: Final = "p_dwell_time"

# Enum number → column, for the actions whose heads are probabilities.
PROBABILITY_COLUMNS: Final[dict[int, str]] = {
    index + 1: HEAD_COLUMNS[index]
    for action, index in ACTION_INDEX.items()
    if action not in CONTINUOUS_ACTIONS
}
