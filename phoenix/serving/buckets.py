"""Which few shapes are compiled, and how any number of candidates is cut into them.

A candidate's score does not depend on its neighbours, so a request may be cut anywhere; what is
chosen here is the cheapest cut: the least padded rows, counting a call as CALL_COST_ROWS more.
"""

from dataclasses import dataclass
from functools import cache

CALL_COST_ROWS = 100  # a call costs 0.25 ms, a row 2.1 us; demo preset, two cores, 2026-11-21


@dataclass(frozen=True, slots=True)
class Shapes:
    """What is compiled: few shapes, because each costs half a second before SERVING."""

    candidate_buckets: tuple[int, ...] = (64, 512, 1200)  # C of one viewer's call, ascending
    merged_viewers: int = 8  # B of a call that several small requests share
    post_buckets: tuple[int, ...] = (64, 1024)  # N of the post tower: live posts, whole corpus

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that do not ascend."""
        check_ascending("candidate_buckets", self.candidate_buckets)
        check_ascending("post_buckets", self.post_buckets)

    @property
    def merged_candidates(self) -> int:
        """C of a shared call: only requests of the smallest bucket are merged."""
        return self.candidate_buckets[0]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Candidates [start, stop) of a request, padded to `bucket` rows."""

    start: int
    stop: int
    bucket: int


def chunks(count: int, buckets: tuple[int, ...]) -> tuple[Chunk, ...]:
    """Covers `count` candidates with chunks of the ascending sizes `buckets`; () for none."""
    check_ascending("buckets", buckets)
    cut, start = [], 0
    for bucket in _sizes(count, buckets):
        stop = min(count, start + bucket)
        cut.append(Chunk(start, stop, bucket))
        start = stop
    return tuple(cut)


def _sizes(count: int, buckets: tuple[int, ...]) -> list[int]:
    """Bucket sizes of the cheapest cover, largest first."""
    largest, sizes = buckets[-1], []
    while count > 2 * largest:
        sizes.append(largest)
        count -= largest
    first = _first_bucket(buckets)
    while count > 0:
        sizes.append(first[count])
        count -= first[count]
    return sorted(sizes, reverse=True)


@cache
def _first_bucket(buckets: tuple[int, ...]) -> list[int]:
    """For every count up to twice the largest bucket, one bucket of its cheapest cover."""
    cost, first = [0], [0]
    for count in range(1, 2 * buckets[-1] + 1):
        options = ((cost[max(0, count - size)] + size, size) for size in buckets)
        cheapest, size = min(options, key=lambda option: (option[0], -option[1]))
        cost.append(cheapest + CALL_COST_ROWS)
        first.append(size)
    return first


def check_ascending(name: str, sizes: tuple[int, ...]) -> None:
    """Raises ValueError unless `sizes` are one or more distinct ascending counts."""
    if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
        raise ValueError(f"{name} are {sizes}, expected distinct ascending sizes from 1 on")
