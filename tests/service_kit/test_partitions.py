"""Keys land where producers in other languages put them, and shares follow partitions."""

from __future__ import annotations

import numpy as np
import pytest

from service_kit.event_log import event_key
from service_kit.partitions import hashes_of, murmur2, partition_of, partitions_of, share_of

# Printed once by org.apache.kafka.common.utils.Utils.murmur2 & 0x7fffffff, kafka-clients 4.1.1.
FROM_JAVA = [
    ("", 275646681),
    ("61", 584102524),
    ("6162", 316155434),
    ("616263", 479470107),
    ("61626364", 823834100),
    ("612d6c6974746c652d6269742d6c6f6e676572", 850663972),
    ("fffe80", 1986757251),
    ("0000000000000000", 1624723715),
    ("0000000000000001", 2100486060),
    ("0000000000000002", 1195241604),
    ("0000000000003039", 1590691725),
    ("1c82409aefc00000", 1815258299),
    ("ffffffffffffffff", 185950397),
    ("8000000000000000", 1290709624),
    ("0000000100000000", 1035366430),
]


@pytest.mark.parametrize(("key", "expected"), FROM_JAVA)
def test_a_java_producer_would_choose_the_same_partition(key: str, expected: int) -> None:
    assert murmur2(bytes.fromhex(key)) == expected
    assert partition_of(bytes.fromhex(key), 12) == expected % 12


def test_hashing_many_ids_at_once_equals_hashing_their_keys() -> None:
    ids = np.random.default_rng(7).integers(0, 1 << 64, (50, 4), np.uint64)
    expected = [murmur2(event_key(int(i))) for i in ids.ravel()]
    assert hashes_of(ids).ravel().tolist() == expected
    assert hashes_of(ids).shape == ids.shape
    assert hashes_of(np.zeros(0, np.uint64)).shape == (0,)


def test_a_batch_of_keys_is_placed_like_each_key_alone() -> None:
    ids = [event_key(i) for i in range(100)]
    odd = [*ids, b"", b"a key of another length"]
    for keys in (ids, odd, []):
        assert partitions_of(keys, 7) == [partition_of(key, 7) for key in keys]


def test_a_partition_belongs_to_one_share_whatever_the_number_of_partitions() -> None:
    authors = np.arange(1, 500, dtype=np.uint64)
    for partitions in (2, 4, 12):
        placed = np.array([partition_of(event_key(int(a)), partitions) for a in authors])
        assert (placed % 2 == share_of(authors, 2)).all()


def test_no_partitions_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        partition_of(b"k", 0)
