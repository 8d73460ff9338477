"""From events to training data: what was served, joined with what the viewer then did.

* Each served post is one training row, exactly once however often its event is delivered (key:
  viewer, post and request; without a request id, viewer, post and time).
* An action belongs to the impression of its request where both name it and that came first, else
  to the viewer's newest impression of that post at or before the action; in either case less than
  ATTRIBUTION_WINDOW_MS after it. Served without action: a negative.
* Every action, shown by us or not, also enters the viewer's history through the 5-minute
  aggregation that serving uses (`phoenix.data.sequence`): rows of weight 0. Served rows themselves
  are no history events, so training sees the same sequences as serving.
* A served repost is a training row of its original, as which the ranker is asked to score it.

The result is a function of the set of events: the order in which they arrive does not matter.
`join.sql` states the same rules for DuckDB and Spark (`phoenix.data.sql_join`).

With `until_ms`, events at or after it are ignored and an impression is a training row only if its
window had closed by then: a younger one may still get its action, and would be a false negative.
Without it the log counts as finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix.data.events import ActionColumns, EventColumns, ServedColumns
from phoenix.data.grouped import GroupedTimes, pair_codes
from phoenix.data.impressions import Impressions
from phoenix.data.sequence import (
    ActionSequences,
    aggregate,
    gives_dwell,
    greatest_seconds,
    without_duplicates,
)
from protos import events_pb2
from service_kit.action_list import ACTION_INDEX, ACTION_NAMES, MODEL_ACTIONS
from service_kit.embedded_log import EmbeddedLogSource
from service_kit.event_log import (
    TOPIC_ACTIONS,
    TOPIC_POSTS,
    TOPIC_SERVED,
    EventSource,
    Record,
    TopicPartition,
)
from service_kit.event_logs import open_source
from service_kit.settings import ServiceSettings

ATTRIBUTION_WINDOW_MS = 1_800_000  # half an hour: a session; later returns have other causes
TRAINING_TOPICS = (TOPIC_SERVED, TOPIC_ACTIONS, TOPIC_POSTS)
POLL_RECORDS_MAX = 50_000  # some 10 MB of served events at a time
POLL_SECONDS_MAX = 0.5
SILENCE_SECONDS_MAX = 60.0  # a leader's election is over well before
END_OF_TIME_MS = np.iinfo(np.int64).max // 2  # no `until_ms`; half, so that windows can be added


@dataclass(frozen=True)
class JoinResult:
    """Impressions with the counts that an operator wants to see."""

    impressions: Impressions
    counts: Mapping[str, int]  # served, actions, attributed, immature, targets, history_events
    rejected: Mapping[str, int]  # events left out, by reason


def join_events(
    served: Iterable[events_pb2.ServedEvent],
    actions: Iterable[events_pb2.ActionEvent],
    posts: Iterable[events_pb2.PostEvent] = (),
    *,
    until_ms: int | None = None,
    action_names: Sequence[str] = MODEL_ACTIONS,
) -> JoinResult:
    """Join decoded events, in any order and with duplicates."""
    columns = EventColumns()
    for served_event in served:
        columns.add_served(served_event)
    for action_event in actions:
        columns.add_action(action_event)
    for post_event in posts:
        columns.add_post(post_event)
    return join_columns(columns, until_ms=until_ms, action_names=action_names)


def impressions_from_log(
    log_dir: Path, until_ms: int | None = None, action_names: Sequence[str] = MODEL_ACTIONS
) -> Impressions:
    """Training data of the embedded log as it is now. Not from within a running event loop."""
    return join_log(log_dir, until_ms, action_names).impressions


def impressions_from_deployment(
    settings: ServiceSettings,
    until_ms: int | None = None,
    action_names: Sequence[str] = MODEL_ACTIONS,
) -> Impressions:
    """Training data of a deployment's topics as they are now, in Kafka where brokers are named.

    Not from within a running event loop. ValueError when DATA_DIR holds no log, TimeoutError when
    Kafka stops giving what it says it has.
    """
    if not settings.kafka_bootstrap_servers:
        return impressions_from_log(settings.log_dir, until_ms, action_names)

    async def read() -> EventColumns:
        return await _read_all(await open_source(settings, TRAINING_TOPICS))

    return join_columns(
        asyncio.run(read()), until_ms=until_ms, action_names=action_names
    ).impressions


def join_log(
    log_dir: Path, until_ms: int | None = None, action_names: Sequence[str] = MODEL_ACTIONS
) -> JoinResult:
    """As `impressions_from_log`, with counts; ValueError when the directory is no log."""
    if not log_dir.is_dir():
        raise ValueError(f"{log_dir} is no directory; expected the embedded event log's")
    columns = asyncio.run(_read_all(EmbeddedLogSource(log_dir, TRAINING_TOPICS)))
    return join_columns(columns, until_ms=until_ms, action_names=action_names)


def join_columns(
    events: EventColumns, *, until_ms: int | None, action_names: Sequence[str] = MODEL_ACTIONS
) -> JoinResult:
    """The join itself, on columns."""
    unknown = [name for name in action_names if name not in ACTION_INDEX]
    if unknown:
        raise ValueError(f"unknown actions {unknown}; there are {ACTION_NAMES}")
    end_ms = END_OF_TIME_MS if until_ms is None else until_ms
    served, all_actions = _served_once(events.served(), end_ms), events.actions()
    actions = without_duplicates(all_actions.take(all_actions.acted_at_ms < end_ms))
    impression = _attribute(served, actions)
    mature = served.served_at_ms + ATTRIBUTION_WINDOW_MS <= end_ms
    scored = events.originals(served.post_ids, served.author_ids)
    shown = replace(served, post_ids=scored[0], author_ids=scored[1])
    targets = _targets(shown, actions, impression, mature, action_names)
    history = history_impressions(aggregate(actions), action_names)
    counts = {
        "served": len(mature),
        "actions": len(actions.user_ids),
        "attributed": int((impression >= 0).sum()),
        "immature": int((~mature).sum()),
        "targets": len(targets),
        "history_events": len(history),
    }
    joined = Impressions.concat([targets, history])
    return JoinResult(joined, counts, dict(events.rejected))


def _served_once(served: ServedColumns, end_ms: int) -> ServedColumns:
    """Each impression once, by its earliest time; sorted by (viewer, post, time, request)."""
    timed = np.where(served.requests == 0, served.served_at_ms, 0)
    ids = (timed, served.requests, served.post_ids, served.viewer_ids)
    content = (served.product_surface, served.author_ids, served.served_at_ms)
    order = np.lexsort((*content, *ids))
    order = order[served.served_at_ms[order] < end_ms]
    repeated = np.zeros(len(order), dtype=np.bool_)
    repeated[1:] = np.logical_and.reduce([np.diff(column[order]) == 0 for column in ids])
    once = served.take(order[~repeated])
    keys = (once.requests, once.served_at_ms, once.post_ids, once.viewer_ids)
    return once.take(np.lexsort(keys))


def _attribute(served: ServedColumns, actions: ActionColumns) -> NDArray[np.int64]:
    """Served row of each action, -1: none."""
    if len(served.viewer_ids) == 0:
        return np.full(len(actions.user_ids), -1, dtype=np.int64)
    shown = len(served.viewer_ids)
    codes, count = pair_codes(
        np.concatenate([served.viewer_ids, actions.user_ids]),
        np.concatenate([served.post_ids, actions.post_ids]),
    )
    pairs, wanted = codes[:shown], codes[shown:]
    times = GroupedTimes(pairs, served.served_at_ms, count)
    newest = times.first_at_or_after(wanted, actions.acted_at_ms + 1) - 1
    newest = np.where(newest >= times.starts[wanted], newest, -1)
    row = _by_request(pairs, served.requests, wanted, actions.requests)
    began = (row >= 0) & (served.served_at_ms[row] <= actions.acted_at_ms)
    row = np.where(began, row, newest)
    delay_ms = actions.acted_at_ms - served.served_at_ms[row]
    return np.where((row >= 0) & (delay_ms >= 0) & (delay_ms < ATTRIBUTION_WINDOW_MS), row, -1)


def _by_request(
    pairs: NDArray[np.int64],
    requests: NDArray[np.int64],
    wanted: NDArray[np.int64],
    wanted_requests: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Served row with the same pair and request as each action, -1 where there is none."""
    stride = max(requests.max(), wanted_requests.max(initial=0)) + 1
    keys = pairs * stride + requests
    order = np.argsort(keys, kind="stable")
    searched = wanted * stride + wanted_requests
    at = np.minimum(np.searchsorted(keys[order], searched), len(keys) - 1)
    found = (keys[order][at] == searched) & (wanted_requests > 0)
    return np.where(found, order[at], -1)


def _targets(
    served: ServedColumns,
    actions: ActionColumns,
    impression: NDArray[np.int64],
    mature: NDArray[np.bool_],
    action_names: Sequence[str],
) -> Impressions:
    """Training rows: what was served, with the labels of the actions attributed to it."""
    count = len(mature)
    labels = np.zeros((count, len(ACTION_NAMES)), dtype=np.bool_)
    used = (impression >= 0) & (actions.actions <= len(ACTION_NAMES))
    labels[impression[used], actions.actions[used] - 1] = True
    timed = used & gives_dwell(actions.actions)
    dwell = greatest_seconds(actions.seconds[timed], impression[timed], count)
    return Impressions(
        viewer_ids=served.viewer_ids[mature],
        post_ids=served.post_ids[mature],
        author_ids=served.author_ids[mature],
        impressed_at_ms=served.served_at_ms[mature],
        product_surface=served.product_surface[mature].astype(np.int8),
        labels=labels[mature][:, _positions(action_names)].astype(np.float32),
        dwell_seconds=dwell[mature],
        action_names=tuple(action_names),
        weight=np.ones(int(mature.sum()), dtype=np.float32),
        in_history=np.zeros(int(mature.sum()), dtype=np.bool_),
        known_at_ms=served.served_at_ms[mature] + ATTRIBUTION_WINDOW_MS,
    )


def history_impressions(events: ActionSequences, action_names: Sequence[str]) -> Impressions:
    """Context rows: aggregated sequences, of any number of users."""
    return Impressions(
        viewer_ids=events.user_ids,
        post_ids=events.post_ids,
        author_ids=events.author_ids,
        impressed_at_ms=events.first_at_ms,
        product_surface=events.product_surface.astype(np.int8),
        labels=events.actions[:, _positions(action_names)].astype(np.float32),
        dwell_seconds=events.dwell_seconds,
        action_names=tuple(action_names),
        weight=np.zeros(len(events), dtype=np.float32),
        in_history=np.ones(len(events), dtype=np.bool_),
        known_at_ms=events.last_at_ms,
    )


def _positions(action_names: Sequence[str]) -> NDArray[np.int64]:
    return np.array([ACTION_INDEX[name] for name in action_names], dtype=np.int64)


async def _read_all(source: EventSource) -> EventColumns:
    """Everything that the topics hold at the time of the call; closes the source."""
    columns = EventColumns()
    loop = asyncio.get_running_loop()
    try:
        end = await source.end_offsets()
        silent_since_s = loop.time()
        while any(source.positions().get(at, 0) < offset for at, offset in end.items()):
            records = await source.poll(POLL_RECORDS_MAX, POLL_SECONDS_MAX)
            _add(columns, records)
            if records:
                silent_since_s = loop.time()
            elif loop.time() - silent_since_s > SILENCE_SECONDS_MAX:
                raise TimeoutError(_behind(source.positions(), end))
    finally:
        await source.close()
    return columns


def _add(columns: EventColumns, records: Sequence[Record]) -> None:
    columns.add_served_bytes(r.value for r in records if r.topic == TOPIC_SERVED)
    columns.add_action_bytes(r.value for r in records if r.topic == TOPIC_ACTIONS)
    columns.add_post_bytes(r.value for r in records if r.topic == TOPIC_POSTS)


def _behind(positions: Mapping[TopicPartition, int], end: Mapping[TopicPartition, int]) -> str:
    behind = [
        f"{topic}[{partition}] at {positions.get((topic, partition), 0)} of {offset}"
        for (topic, partition), offset in end.items()
        if positions.get((topic, partition), 0) < offset
    ]
    return (
        f"no event came for {SILENCE_SECONDS_MAX:.0f} s though there are more: "
        f"{', '.join(behind)}; is every broker up?"
    )
