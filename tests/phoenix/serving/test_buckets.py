"""A cut must cover every candidate once and not waste more than the shapes force it to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.serving.buckets import Shapes, chunks
from phoenix.serving.limits import CANDIDATES_MAX


@given(
    st.integers(0, CANDIDATES_MAX),
    st.sets(st.sampled_from([1, 16, 64, 512, 2816]), min_size=1).map(lambda s: tuple(sorted(s))),
)
def test_every_candidate_is_in_exactly_one_chunk_of_a_compiled_size(count, buckets):
    if buckets[-1] == 1:
        buckets = (1, 64)  # thousands of single calls: no one compiles that
    cut = chunks(count, buckets)
    assert [at for chunk in cut for at in range(chunk.start, chunk.stop)] == list(range(count))
    assert all(chunk.stop - chunk.start <= chunk.bucket in buckets for chunk in cut)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (1, [64]),
        (64, [64]),
        (65, [64, 64]),
        (300, [512]),
        (576, [512, 64]),
        (1200, [512, 512, 64, 64, 64]),
        (2800, [512] * 6),
    ],
)
def test_sizes_are_the_cheapest_cover(count, sizes):
    assert [chunk.bucket for chunk in chunks(count, (64, 512))] == sizes


@pytest.mark.parametrize("sizes", [(), (0, 4), (8, 4), (4, 4)])
def test_sizes_that_do_not_ascend_are_refused_by_name(sizes):
    with pytest.raises(ValueError, match="candidate_buckets"):
        Shapes(candidate_buckets=sizes)
