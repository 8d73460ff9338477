"""Post ids carry their time; ids that carry none are said to."""

from __future__ import annotations

import numpy as np
import pytest

from service_kit.clock import ManualClock
from service_kit.snowflake import (
    FIRST_SNOWFLAKE_ID,
    ID_MAX,
    SnowflakeGenerator,
    first_id_at,
    oldest_id_since,
    timestamp_ms,
    timestamps_ms,
)


def test_golden_ids_decode_to_their_published_times() -> None:
    assert timestamp_ms(2054275414225846272) == 1_778_612_400_000  # 2026-05-12 19:00 UTC
    assert timestamp_ms(FIRST_SNOWFLAKE_ID) == 1_288_921_374_657  # 2010-11-05 01:42:54.657 UTC


@pytest.mark.parametrize("post_id", [0, 20, FIRST_SNOWFLAKE_ID - 1, 1 << 63])
def test_ids_without_a_time_are_an_error_and_minus_one_in_columns(post_id: int) -> None:
    with pytest.raises(ValueError, match="carries no time"):
        timestamp_ms(post_id)
    assert timestamps_ms(np.array([post_id], np.uint64)).tolist() == [-1]


def test_columns_decode_as_single_ids_do() -> None:
    ids = np.array([FIRST_SNOWFLAKE_ID, 2054275414225846272], np.int64)
    assert timestamps_ms(ids).tolist() == [timestamp_ms(int(i)) for i in ids]


def test_first_id_of_a_millisecond_bounds_its_ids() -> None:
    at_ms = 1_778_612_400_000
    assert timestamp_ms(first_id_at(at_ms)) == at_ms
    assert timestamp_ms(first_id_at(at_ms) - 1) == at_ms - 1
    with pytest.raises(ValueError, match="no snowflake"):
        first_id_at(0)


def test_the_oldest_id_since_a_time_parts_ids_as_their_times_do() -> None:
    """A filter by age compares ids; it must keep what a comparison of times would."""
    at_ms = 1_790_000_000_000
    first = first_id_at(at_ms)
    ids = np.array(
        [first - 1, first, first + 9, FIRST_SNOWFLAKE_ID - 1, FIRST_SNOWFLAKE_ID, ID_MAX]
    )
    ids = ids.astype(np.uint64)
    for since_ms in (0, at_ms, at_ms + 1, 2**43, 2**62):
        times_ms = timestamps_ms(ids)
        kept = ids >= oldest_id_since(since_ms)
        assert kept.tolist() == ((times_ms >= since_ms) & (times_ms >= 0)).tolist()


def test_ids_never_repeat_live_stated_or_with_a_clock_set_back() -> None:
    clock = ManualClock()
    generator = SnowflakeGenerator(3, clock)
    now_ms = clock.now_ms()
    ids = [generator.next() for _ in range(5000)]
    ids += [generator.next(at_ms=now_ms) for _ in range(5000)]
    clock.advance_ms(1)
    ids += [generator.next() for _ in range(10)] + [generator.next(now_ms) for _ in range(10)]
    assert len(set(ids)) == len(ids)
    assert ids[:5000] == sorted(ids[:5000])
    assert timestamp_ms(ids[0]) == timestamp_ms(ids[5000]) == now_ms


def test_a_worker_outside_ten_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 1023"):
        SnowflakeGenerator(1024, ManualClock())
