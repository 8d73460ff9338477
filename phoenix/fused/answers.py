"""Behind the layers: a candidate's log probabilities and its expected dwell.

Glossary as in `phoenix.fused.ends`. All in float32, as `phoenix.ranker` has it:

    logits = [facts, norm(h)] W + (surface's, age's and the bias)
    seconds = e^s · expm1(min(softplus(v), 9)) = e^s · min(e^v, e^9 − 1)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phoenix.fused.blocks import multiply_float_block
from phoenix.fused.elementwise import exponential, inverse_rms, place
from phoenix.fused.ends import Asked, Ends, Facts
from phoenix.fused.facts import bucket, known
from phoenix.fused.instructions import PANEL, ROWS, helper
from phoenix.fused.steps import Floats, Scratch
from phoenix.ranker import DWELL_LOG_MAX

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_GROWTH_MAX = np.float32(math.expm1(DWELL_LOG_MAX))
# atanh(z) / z in powers of z² up to 1/9; the next term is 1e-10
_A3, _A5, _A7, _A9 = (np.float32(1 / n) for n in (3, 5, 7, 9))
_A11, _A13, _A15, _A17 = (np.float32(1 / n) for n in (11, 13, 15, 17))


@helper
def give_answers(
    asked: Asked,
    start: int,
    ends: Ends,
    scratch: Scratch,
    facts: Facts,
    log_probs: Floats,
    seconds: Floats,
    count: int,
) -> None:
    """Hidden rows and facts of the candidates from `start` on → [C, A] and [C]."""
    _norm(scratch, ends, facts, count)
    _multiply(facts, ends, count)
    actions = log_probs.shape[1]
    for r in range(count):
        surface = known(asked.surfaces[start + r], len(ends.answer_surface))
        age = bucket(asked.ages[start + r], ends.ages_from)
        for i in range(facts.answers.shape[1]):
            both = ends.answer_surface[surface, i] + ends.answer_age[age, i]
            facts.answers[r, i] += both
        growth = min(exponential(facts.answers[r, actions]), _GROWTH_MAX)
        is_number = facts.answers[r, actions] == facts.answers[r, actions]
        seconds[start + r] = ends.seconds[0] * (growth if is_number else np.float32(np.nan))
        for i in range(facts.answers.shape[1]):
            facts.answers[r, i] = log_sigmoid(facts.answers[r, i])
        for i in range(actions):
            log_probs[start + r, i] = facts.answers[r, i]


@helper
def log_sigmoid(x: Any) -> Any:
    """min(x, 0) − log1p(e^−|x|) of a float32; NaN of NaN."""
    small = exponential(-abs(x))
    z = small / (_TWO + small)
    y = z * z
    p = ((((_A17 * y + _A15) * y + _A13) * y + _A11) * y + _A9) * y + _A7
    p = ((p * y + _A5) * y + _A3) * y + _ONE
    below = x if x < _ZERO else _ZERO
    found = below - _TWO * z * p
    return found if x == x else x  # false of NaN alone


@helper
def _norm(scratch: Scratch, ends: Ends, facts: Facts, count: int) -> None:
    """The last norm of the hidden rows, behind the facts."""
    width = scratch.hidden.shape[1]
    behind = facts.floats.shape[1] - width
    for r in range(count):
        factor = inverse_rms(scratch.hidden, r, width)
        for i in range(width):
            facts.floats[r, place(behind, i)] = scratch.hidden[r, i] * factor * ends.norm[i]


@helper
def _multiply(facts: Facts, ends: Ends, count: int) -> None:
    steps, at = facts.floats.shape[1], 0
    for column in range(0, facts.answers.shape[1], PANEL):
        for row in range(0, count, ROWS):
            multiply_float_block(facts.floats, row, ends.answer, at, steps, facts.answers, column)
        at += steps * PANEL
