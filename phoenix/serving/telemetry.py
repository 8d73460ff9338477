"""The service's metrics, all under foryou_phoenix_, made once and passed to who counts."""

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from service_kit.metrics import SIZES, Metrics

# Differences of probabilities: from rounding to a broken model.
DIFFERENCES = (1e-8, 1e-7, 1e-6, 3e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Counters, gauges and histograms by what they measure."""

    requests: Counter
    request_seconds: Histogram
    candidates: Histogram
    queue_seconds: Histogram
    merged_viewers: Histogram
    program_calls: Counter
    expired_jobs: Counter
    context_cache: Counter
    not_finite: Counter
    skipped_history: Counter
    canary_checks: Counter
    canary_difference: Histogram
    canary_difference_max: Gauge
    precision_error: Gauge
    reloads: Counter
    reloads_refused: Counter
    model_loaded: Gauge
    model_info: Gauge
    reload_seconds: Histogram
    index_posts: Gauge
    index_bytes: Gauge
    corpus_posts: Gauge
    corpus_tombstones: Gauge
    tombstones_dropped: Gauge
    embedded_posts: Counter
    embed_failures: Counter
    age_out_failures: Counter

    @staticmethod
    def of(metrics: Metrics) -> "Telemetry":
        """Registers everything with `metrics`; once a process."""
        kind, method = ["model"], ["method"]
        return Telemetry(
            requests=metrics.counter("requests_total", "Calls", ["method", "code"]),
            request_seconds=metrics.histogram("request_seconds", "Time of a call", method),
            candidates=metrics.histogram("candidates", "Candidates a request", buckets=SIZES),
            queue_seconds=metrics.histogram("queue_seconds", "Wait before the model runs"),
            merged_viewers=metrics.histogram(
                "merged_viewers", "Requests that share one call of the model", buckets=SIZES[:5]
            ),
            program_calls=metrics.counter("program_calls_total", "Model calls", ["program"]),
            expired_jobs=metrics.counter("expired_jobs_total", "Work dropped: nobody waits"),
            context_cache=metrics.counter("context_cache_total", "Lookups", ["model", "result"]),
            not_finite=metrics.counter("not_finite_total", "Answers that held NaN", kind),
            skipped_history=metrics.counter("skipped_history_total", "Events without a post id"),
            canary_checks=metrics.counter("canary_checks_total", "Candidates scored again alone"),
            canary_difference=metrics.histogram(
                "canary_difference", "Probability: alone against in its request", (), DIFFERENCES
            ),
            canary_difference_max=metrics.gauge(
                "canary_difference_max", "Largest canary difference since the model was loaded"
            ),
            precision_error=metrics.gauge(
                "precision_error", "Largest probability difference from float32, when loaded"
            ),
            reloads=metrics.counter("reloads_total", "Checkpoints put into service", kind),
            reloads_refused=metrics.counter(
                "reloads_refused_total", "Checkpoints that were refused", ["model", "reason"]
            ),
            model_loaded=metrics.gauge("model_loaded", "1 while a model serves", kind),
            model_info=metrics.gauge("model_info", "The version in service", ["model", "version"]),
            reload_seconds=metrics.histogram(
                "reload_seconds", "Load, compile and check", kind, (0.1, 0.5, 1, 2, 5, 10, 30, 60)
            ),
            index_posts=metrics.gauge("index_posts", "Posts that retrieval can answer"),
            index_bytes=metrics.gauge("index_bytes", "Memory of the index"),
            corpus_posts=metrics.gauge("corpus_posts", "Posts held, deleted ones included"),
            corpus_tombstones=metrics.gauge("corpus_tombstones", "Deletes remembered"),
            tombstones_dropped=metrics.gauge(
                "tombstones_dropped", "Deletes forgotten for lack of room"
            ),
            embedded_posts=metrics.counter("embedded_posts_total", "Posts through the post tower"),
            embed_failures=metrics.counter(
                "embed_failures_total", "Posts left out: their vector was not finite"
            ),
            age_out_failures=metrics.counter(
                "age_out_failures_total", "Rounds of ageing out that failed"
            ),
        )
