"""Bloom filters: what went in is found, what is malformed is refused with the reason."""

from hashlib import blake2b

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from home_mixer.bloom import FILTER_BYTES_MAX, BloomFilter, hash_ids

ids_of = st.sets(st.integers(1, 2**64 - 1), min_size=1, max_size=30)


def as_array(ids):
    return np.array(sorted(ids), np.uint64)


def bit_positions(post_id, num_bits, num_hashes):
    """The definition in protos/home_mixer.proto, on Python's unbounded integers."""
    digest = blake2b(post_id.to_bytes(8, "little"), digest_size=16).digest()
    h1, h2 = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    return [(h1 + j * h2) % num_bits for j in range(num_hashes)]


def test_a_filter_that_a_client_wrote_down_by_hand_is_understood():
    bits = bytearray(8)
    for position in bit_positions(2054275414225846272, 61, 3):
        bits[position // 8] |= 1 << (position % 8)
    bloom = BloomFilter(bytes(bits), num_bits=61, num_hashes=3)
    assert bloom.contains(hash_ids(as_array([2054275414225846272]))).tolist() == [True]


@given(ids_of, ids_of, st.integers(1, 4_000), st.integers(1, 32))
def test_equals_the_definition_bit_by_bit(inside, others, num_bits, num_hashes):
    bloom = BloomFilter.build(as_array(inside), num_bits, num_hashes)
    set_bits = {p for i in inside for p in bit_positions(i, num_bits, num_hashes)}
    queried = as_array(inside | others)
    expected = [set(bit_positions(int(i), num_bits, num_hashes)) <= set_bits for i in queried]
    assert bloom.contains(hash_ids(queried)).tolist() == expected


def test_the_widest_filter_does_not_wrap_around():
    num_bits = FILTER_BYTES_MAX * 8
    ids = as_array(range(1, 200))
    bloom = BloomFilter.build(ids, num_bits, 32)
    bits = np.unpackbits(np.frombuffer(bloom.bits, np.uint8), bitorder="little")
    expected = {p for i in range(1, 200) for p in bit_positions(i, num_bits, 32)}
    assert set(np.flatnonzero(bits)) == expected


def test_the_sized_filter_errs_about_as_often_as_asked():
    bloom = BloomFilter.sized_for(as_array(range(1, 5_001)), false_positive_rate=0.01)
    others = as_array(range(10_001, 30_001))
    assert 0.002 < bloom.contains(hash_ids(others)).mean() < 0.02


@pytest.mark.parametrize(
    ("bits", "num_bits", "num_hashes", "message"),
    [
        (b"\0" * 7, 64, 3, "bits has 7 bytes; 64 num_bits need exactly 8"),
        (b"\0" * 9, 64, 3, "bits has 9 bytes; 64 num_bits need exactly 8"),
        (b"", 0, 3, "num_bits is 0; at least 1 is expected"),
        (b"\0", 8, 0, "num_hashes is 0; 1 to 32 is expected"),
        (b"\0", 8, 33, "num_hashes is 33; 1 to 32 is expected"),
        (b"\0" * (FILTER_BYTES_MAX + 1), 8, 1, "the limit is 1048576"),
    ],
)
def test_a_malformed_filter_is_refused_with_what_was_expected(bits, num_bits, num_hashes, message):
    with pytest.raises(ValueError, match=message):
        BloomFilter(bits, num_bits, num_hashes)


def test_a_senseless_false_positive_rate_is_refused():
    with pytest.raises(ValueError, match=r"false_positive_rate is 1\.5"):
        BloomFilter.sized_for(as_array([1]), 1.5)


def test_no_ids_hash_to_no_rows():
    assert hash_ids(as_array([])).shape == (0, 2)
