"""What thunder counts; every name starts with ``foryou_thunder_`` (table in the README)."""

from __future__ import annotations

from collections.abc import Mapping

from service_kit.metrics import SIZES, Metrics
from thunder.store import StoreSizes

AGE_SECONDS = (1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 43200.0, 86400.0, 172800.0)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
KINDS = ("posts", "videos")
DROPPED = ("unknown_parent", "parent_not_followed", "own_repost", "deleted_source")


class ThunderMetrics:
    """One per process."""

    def __init__(self, metrics: Metrics) -> None:
        self.requests = metrics.counter(
            "requests_total", "Queries by kind (posts, videos) and gRPC status", ["kind", "code"]
        )
        self.request_seconds = metrics.histogram(
            "request_seconds", "Time from request to encoded answer", ["kind"]
        )
        self.in_flight = metrics.gauge("in_flight_requests", "Queries running or waiting")
        self.partial = metrics.counter("partial_answers_total", "Answers cut short by time")
        self.dropped = metrics.counter(
            "posts_dropped_total", "Posts that a query's rules left out, by reason", ["reason"]
        )
        self.following = metrics.histogram(
            "request_following_size", "Followed authors a request names", buckets=SIZES
        )
        self.excluded = metrics.histogram(
            "request_excluded_size", "Posts a request excludes", buckets=SIZES
        )
        self.returned = metrics.histogram("posts_returned", "Posts in an answer", buckets=SIZES)
        self.returned_share = metrics.histogram(
            "posts_returned_share", "Posts returned of entries looked at", buckets=SHARES
        )
        self.freshness = metrics.histogram(
            "returned_freshness_seconds", "Age of the newest post returned", buckets=AGE_SECONDS
        )
        self.time_range = metrics.histogram(
            "returned_time_range_seconds", "Oldest to newest post returned", buckets=AGE_SECONDS
        )
        self.reply_share = metrics.histogram(
            "returned_reply_share", "Replies among the posts returned", buckets=SHARES
        )
        self.unique_authors = metrics.histogram(
            "returned_unique_authors", "Different authors in an answer", buckets=SIZES
        )
        self.events = metrics.counter(
            "events_total", "Post events by kind and what became of them", ["kind", "outcome"]
        )
        self.trimmed = metrics.counter("posts_trimmed_total", "Posts dropped by age")
        self._evicted = metrics.gauge(
            "posts_evicted", "Posts dropped since the start because memory was full"
        )
        self._entities = metrics.gauge("store_entities", "What the store holds", ["type"])
        self._posts_max = metrics.gauge("store_posts_max", "Posts there is room for")
        self._bytes = metrics.gauge("store_bytes", "Bytes that the store's arrays use")
        self.start_seconds = metrics.gauge("start_seconds", "From start to caught up")
        self.clock_held = metrics.gauge(
            "clock_held_seconds", "How far the machine's clock is behind what it said before"
        )
        self.snapshots = SnapshotMetrics(metrics)
        # What every query counts, looked up once.
        self._answered = {
            kind: (self.requests.labels(kind, "OK"), self.request_seconds.labels(kind))
            for kind in KINDS
        }
        self._dropped = {reason: self.dropped.labels(reason) for reason in DROPPED}

    def answered(self, kind: str, seconds: float) -> None:
        """A query of this kind was answered."""
        requests, request_seconds = self._answered[kind]
        requests.inc()
        request_seconds.observe(seconds)

    def left_out(self, counts: Mapping[str, int]) -> None:
        """What one query's rules left out, by reason; other counts are passed over."""
        for reason, dropped in self._dropped.items():
            if counts[reason]:
                dropped.inc(counts[reason])

    def show_sizes(self, sizes: StoreSizes, evicted_posts: int) -> None:
        """Sets the gauges of the store."""
        self._entities.labels("posts").set(sizes.posts)
        self._entities.labels("deleted_posts").set(sizes.dead_posts)
        self._entities.labels("authors").set(sizes.authors)
        self._entities.labels("original_posts").set(sizes.originals)
        self._entities.labels("secondary_posts").set(sizes.secondary)
        self._entities.labels("video_posts").set(sizes.videos)
        self._entities.labels("tombstones").set(sizes.tombstones)
        self._posts_max.set(sizes.posts_max)
        self._bytes.set(sizes.bytes_in_use)
        self._evicted.set(evicted_posts)


class SnapshotMetrics:
    """Of the snapshots of one replica."""

    def __init__(self, metrics: Metrics) -> None:
        self.failures = metrics.counter(
            "snapshot_failures_total", "Snapshots that could not be written"
        )
        self.refused = metrics.counter(
            "snapshots_refused_total",
            "Snapshots not used at a start: damaged, format, other_share, other_log, gap, settings "
            "or unreadable",
            ["kind"],
        )
        self._written = metrics.counter("snapshots_written_total", "Snapshots written")
        self._bytes = metrics.gauge("snapshot_bytes", "Size of the newest snapshot written")
        self._seconds = metrics.histogram("snapshot_seconds", "Time to write a snapshot")
        self.pause = metrics.histogram(
            "snapshot_pause_seconds", "Time that inserts waited for a snapshot"
        )
        self._age = metrics.gauge(
            "snapshot_age_seconds", "Age of the newest snapshot written or restored; -1 without one"
        )
        self._restored_posts = metrics.gauge(
            "snapshot_restored_posts", "Posts that this start took from a snapshot"
        )
        self._restore_seconds = metrics.gauge(
            "snapshot_restore_seconds", "Time that this start took to read its snapshot"
        )
        self._newest_ms: int | None = None
        self._age.set(-1)

    def wrote(self, file_bytes: int, seconds: float, now_ms: int) -> None:
        """One snapshot was written."""
        self._written.inc()
        self._bytes.set(file_bytes)
        self._seconds.observe(seconds)
        self._newest_ms = now_ms

    def restored(self, posts: int, seconds: float, created_ms: int | None) -> None:
        """This start began with a snapshot, or (None) after all without one."""
        self._restored_posts.set(posts)
        self._restore_seconds.set(seconds)
        self._newest_ms = created_ms

    def show_age(self, now_ms: int) -> None:
        """Sets the age's gauge; never below 0, also when the clock was set back."""
        newest_ms = self._newest_ms
        self._age.set(-1 if newest_ms is None else max(0, now_ms - newest_ms) / 1000)


class FeederMetrics:
    """What the feeder counts."""

    def __init__(self, metrics: Metrics) -> None:
        self.records = metrics.counter(
            "feeder_records_total", "Records written to the in-network topic"
        )
        self.events = metrics.counter(
            "feeder_events_total", "Post events read, by what became of them", ["outcome"]
        )
        self.send_seconds = metrics.histogram(
            "feeder_send_seconds", "Time until a batch was acknowledged"
        )
