"""The newest K of what a query found: a radix sort by time, ties by larger id, and a cut.

Times are sorted as their distance from the newest, 11 bits a pass; posts of one query span hours to
days, so two or three passes do. Equal times are rare and put in order afterwards.
"""

from __future__ import annotations

from typing import Any, Final

from thunder.compiled import helper
from thunder.query_scratch import DIGITS, FOUND, WANTED

DIGIT_BITS: Final = 11  # log2 of DIGITS
NO_LIMIT_MS: Final = -(1 << 62)


@helper
def keep_newest(state: Any, scratch: Any) -> None:
    """Sorts what was found, newest first, and cuts it to K; what is older than the K-th need not
    be looked at from then on."""
    found = scratch.counts[FOUND]
    sort_by_time(scratch, found)
    order_ties(state, scratch, found)
    wanted = scratch.counts[WANTED]
    if found >= wanted:
        scratch.counts[FOUND] = wanted
        scratch.limit_ms[0] = scratch.found_ms[wanted - 1]


@helper
def sort_by_time(scratch: Any, found: Any) -> None:
    """Newest first, in `found_ms` and `found_rows`; equal times as they came."""
    newest_ms, oldest_ms = span(scratch.found_ms, found)
    shift = 0
    while (newest_ms - oldest_ms) >> shift > 0:
        sort_digit(scratch, found, newest_ms, shift)
        for i in range(found):
            scratch.found_ms[i] = scratch.sorted_ms[i]
            scratch.found_rows[i] = scratch.sorted_rows[i]
        shift += DIGIT_BITS


@helper
def span(times_ms: Any, found: Any) -> Any:
    newest_ms = oldest_ms = times_ms[0]
    for i in range(1, found):
        newest_ms = max(newest_ms, times_ms[i])
        oldest_ms = min(oldest_ms, times_ms[i])
    return newest_ms, oldest_ms


@helper
def sort_digit(scratch: Any, found: Any, newest_ms: Any, shift: Any) -> None:
    """One stable pass by the digit at ``shift`` of the distance from the newest."""
    digits = scratch.digits
    digits[:] = 0
    for i in range(found):
        digits[((newest_ms - scratch.found_ms[i]) >> shift) & (DIGITS - 1)] += 1
    begin = 0
    for digit in range(DIGITS):
        begin, digits[digit] = begin + digits[digit], begin
    for i in range(found):
        digit = ((newest_ms - scratch.found_ms[i]) >> shift) & (DIGITS - 1)
        scratch.sorted_ms[digits[digit]] = scratch.found_ms[i]
        scratch.sorted_rows[digits[digit]] = scratch.found_rows[i]
        digits[digit] += 1


@helper
def order_ties(state: Any, scratch: Any, found: Any) -> None:
    """Puts posts of one millisecond in order of their ids, the larger first."""
    ms, rows = scratch.found_ms, scratch.found_rows
    for i in range(1, found):
        row, at = rows[i], i
        while (
            at > 0
            and ms[at - 1] == ms[i]
            and state.rows[rows[at - 1]].post_id < state.rows[row].post_id
        ):
            rows[at] = rows[at - 1]
            at -= 1
        rows[at] = row
