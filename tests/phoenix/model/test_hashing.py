"""Published embedding tables can be used only if every hash is reproduced exactly."""

import numpy as np
import pytest

from phoenix.hashing import AUTHOR_HASH, POST_HASH, USER_HASH, hash_ids

WRAPPING_ID = 2054275414225846272  # its products leave the signed 64-bit range


@pytest.mark.parametrize(
    ("id_", "user", "post", "author"),
    [
        (1, (4710, 35698), (93148, 85286), (19096, 7498)),
        (12345, (35331, 41398), (34242, 66319), (16045, 29444)),
        (WRAPPING_ID, (25910, 13018), (50112, 80803), (14903, 7962)),
    ],
)
def test_hashes_equal_the_published_numbers(id_, user, post, author):
    """The original's own numbers, wrap-around included."""
    ids = np.array([id_], np.int64)
    assert hash_ids(ids, USER_HASH, 100_000)[0].tolist() == list(user)
    assert hash_ids(ids, POST_HASH, 100_000)[0].tolist() == list(post)
    assert hash_ids(ids, AUTHOR_HASH, 30_000)[0].tolist() == list(author)


def test_padding_and_only_padding_hashes_to_row_0():
    """A real id on the padding row would be invisible to the model."""
    ids = np.arange(0, 5_000, dtype=np.int64)
    hashes = hash_ids(ids, POST_HASH, 50)
    assert (hashes[0] == 0).all()
    assert hashes[1:].min() == 1
    assert hashes.max() == 49


def test_unsigned_and_signed_ids_hash_alike():
    """Ids arrive unsigned from the wire and signed from Parquet."""
    unsigned = np.array([2**63 + 12345], np.uint64)
    assert np.array_equal(
        hash_ids(unsigned, USER_HASH, 1_000), hash_ids(unsigned.view(np.int64), USER_HASH, 1_000)
    )


def test_fractional_ids_are_refused():
    """A float has lost an id's low bits already."""
    with pytest.raises(TypeError, match="integers"):
        hash_ids(np.array([1.0]), USER_HASH, 10)
