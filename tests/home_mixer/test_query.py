"""A bad request is refused with the field, its limit and what came; a good one is understood."""

import numpy as np
import pytest

from home_mixer.bloom import FILTER_BYTES_MAX
from home_mixer.query import (
    BLOOM_FILTERS_MAX,
    CODE_CHARS_MAX,
    SEEN_IDS_MAX,
    SERVED_IDS_MAX,
    ActionSequence,
    sorted_ids,
    validate,
)
from protos import home_mixer_pb2 as pb

ENTRY = pb.BloomFilterEntry(bits=b"\0" * 8, num_bits=64, num_hashes=3)


@pytest.fixture
def check(params):
    def run(**fields):
        message = pb.ScoredPostsQuery(**{"viewer_id": 7, **fields})
        return validate(message, request_id="1-7", now_ms=5, params=params)

    return run


def test_a_complete_request_arrives_whole(check, params):
    query = check(
        client_app_id=3,
        country_code="DE",
        language_code="de",
        seen_ids=[9, 4, 9, 0],
        served_ids=[2],
        in_network_only=True,
        is_bottom_request=True,
        bloom_filter_entries=[ENTRY],
    )
    assert (query.viewer_id, query.request_id, query.now_ms, query.params) == (7, "1-7", 5, params)
    assert (query.client_app_id, query.country_code, query.language_code) == (3, "DE", "de")
    assert query.seen_ids.tolist() == [4, 9]
    assert query.served_ids.tolist() == [2]
    assert query.in_network_only
    assert query.is_bottom_request
    assert query.bloom_filters[0].num_bits == 64


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"viewer_id": 0}, "^viewer_id must be specified$"),
        ({"viewer_id": -4}, "viewer_id is -4; a user's id is positive"),
        ({"seen_ids": [1] * (SEEN_IDS_MAX + 1)}, "seen_ids has 10001 ids; the limit is 10000"),
        ({"served_ids": [1] * (SERVED_IDS_MAX + 1)}, "served_ids has 10001 ids"),
        ({"seen_ids": [1, 2, -3]}, r"seen_ids\[2\] is -3"),
        ({"served_ids": [-1]}, r"served_ids\[0\] is -1"),
        ({"country_code": "x" * (CODE_CHARS_MAX + 1)}, "country_code has 36 characters"),
        ({"language_code": "x" * 99}, "language_code has 99 characters; the limit is 35"),
        (
            {"bloom_filter_entries": [ENTRY] * (BLOOM_FILTERS_MAX + 1)},
            "bloom_filter_entries has 33 filters; the limit is 32",
        ),
        (
            {"bloom_filter_entries": [ENTRY, pb.BloomFilterEntry(num_bits=64, num_hashes=3)]},
            r"bloom_filter_entries\[1\]: bits has 0 bytes; 64 num_bits need exactly 8",
        ),
        (
            {
                "bloom_filter_entries": [
                    pb.BloomFilterEntry(
                        bits=b"\0" * (FILTER_BYTES_MAX + 1), num_bits=8, num_hashes=1
                    )
                ]
            },
            "the limit is 1048576",
        ),
    ],
)
def test_a_bad_field_is_named(check, fields, message):
    with pytest.raises(ValueError, match=message):
        check(**fields)


def test_lists_at_their_limit_are_accepted(check):
    assert len(check(seen_ids=range(1, SEEN_IDS_MAX + 1)).seen_ids) == SEEN_IDS_MAX


def test_ids_of_a_query_cannot_be_changed_by_a_component(check):
    with pytest.raises(ValueError, match="read-only"):
        check(seen_ids=[3]).seen_ids[0] = 4


def test_zero_is_no_post():
    assert sorted_ids([0, 3, 0, 1]).tolist() == [1, 3]
    assert sorted_ids([]).tolist() == []


def test_the_newest_actions_are_the_last():
    sequence = ActionSequence(
        post_ids=np.array([1, 2, 3], np.uint64),
        author_ids=np.array([4, 5, 6], np.uint64),
        acted_at_ms=np.array([10, 20, 30]),
        action_bits=np.array([1, 2, 4], np.uint32),
        dwell_seconds=np.array([0, 1, 2], np.float32),
        product_surface=np.array([1, 1, 1], np.int8),
    )
    assert sequence.last(2).post_ids.tolist() == [2, 3]
    assert sequence.last(2).acted_at_ms.tolist() == [20, 30]
    assert len(sequence.last(9)) == 3
    assert len(sequence.last(0)) == 0
    assert len(ActionSequence()) == 0
