"""Contents of posts, kept in process: they never change, so nothing has to be invalidated.

Bounded by a number of posts, the longest unused goes first. Deletion and labels are never here.
Two creates of one id are a producer's fault; whoever cached the first shows it until it goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from service_kit.metrics import Metrics


class ContentCache:
    """Stored contents by post id."""

    def __init__(self, posts_max: int, metrics: Metrics) -> None:
        self._posts_max = posts_max
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        reads = metrics.counter("post_cache_reads_total", "Contents asked of the cache", ["found"])
        self._hits, self._misses = reads.labels("yes"), reads.labels("no")
        self._size = metrics.gauge("post_cache_posts", "Contents in the cache")

    def get(self, post_ids: Sequence[int]) -> list[bytes | None]:
        """[B]: None where the cache has none."""
        found = [self._kept.get(post_id) for post_id in post_ids]
        misses = found.count(None)
        self._misses.inc(misses)
        self._hits.inc(len(found) - misses)
        return found

    def put(self, post_ids: Sequence[int], contents: Sequence[bytes | None]) -> None:
        """Keeps what there is as the latest used."""
        kept = self._kept
        for post_id, content in zip(post_ids, contents, strict=True):
            if content is not None:
                kept[post_id] = content
                kept.move_to_end(post_id)
        while len(kept) > self._posts_max:
            kept.popitem(last=False)
        self._size.set(len(kept))
