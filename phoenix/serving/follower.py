"""Keeps the index equal to the corpus: new posts within a poll, deletes before anything else.

The index of a tower holds that tower's vectors only. A new retrieval model gets an index of its
own, filled beside the one in service, and both are swapped as a pair. Events that come meanwhile
go to both; that the order does not matter is `Corpus`'s promise.

Indexed are original posts and quotes. Replies and reposts are not: a reply out of network lacks
its conversation, and a repost would answer a post that is here already. Paywalled posts are
indexed, for only home_mixer knows who subscribes; labels are its business too.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.index.corpus import Corpus, Post, created_ms_of
from phoenix.index.kinds import new_index
from phoenix.index.search import Ids, IndexKind, VectorIndex
from phoenix.serving.limits import ID_MAX
from phoenix.serving.served import ServedRetrieval
from phoenix.serving.telemetry import Telemetry
from phoenix.serving.worker import ModelWorker
from protos import events_pb2
from service_kit.clock import Clock
from service_kit.dead_letters import Poison, parse_records
from service_kit.event_log import Record

logger = logging.getLogger(__name__)

# Posts embedded at once: the model's thread is held for under ten milliseconds, then scores go on.
EMBED_POSTS_MAX = 4_096
# While a batch of events is applied, new posts may reach an index before the old ones left it.
ROWS_SPARE = 16_384


@dataclass(frozen=True, eq=False, slots=True)
class LiveRetrieval:
    """A tower and the only index that its vectors may be searched in."""

    model: ServedRetrieval
    index: VectorIndex


class CorpusFollower:
    """Applies post events to the corpus and to every index; work on many posts leaves the loop."""

    def __init__(
        self,
        corpus: Corpus,
        worker: ModelWorker,
        telemetry: Telemetry,
        clock: Clock,
        *,
        posts_max: int,
        index_kind: IndexKind = "int8",
    ) -> None:
        self._corpus = corpus
        self._worker = worker
        self._telemetry = telemetry
        self._clock = clock
        self._posts_max = posts_max
        self._index_kind: IndexKind = index_kind
        self._building: LiveRetrieval | None = None
        self._lock = asyncio.Lock()  # one batch of changes or one look at the corpus at a time
        self.active: LiveRetrieval | None = None

    async def handle(self, records: Sequence[Record]) -> Sequence[Poison]:
        """Applies events of foryou.posts; a `service_kit.consumer.Handler`."""
        async with self._lock:
            poisons = await asyncio.to_thread(self._apply, records)
            await self._follow()
        return poisons

    async def advance(self) -> None:
        """Ages posts out; to be called now and then, for time passes without events too."""
        async with self._lock:
            await asyncio.to_thread(self._corpus.advance, self._clock.now_ms())
            await self._follow()

    async def install(self, model: ServedRetrieval) -> None:
        """Embeds the whole corpus with a new tower, then swaps tower and index as a pair."""
        rows_max = self._posts_max + ROWS_SPARE
        index = await asyncio.to_thread(
            new_index, self._index_kind, model.dimension, rows_max=rows_max
        )
        live = LiveRetrieval(model, index)
        async with self._lock:
            posts = await asyncio.to_thread(lambda: list(self._corpus.visible_posts()))
            self._building = live  # from here on events reach it too
        try:
            await self._add(live, posts)
            self.active = live
        finally:
            self._building = None
        self._measure()

    def _apply(self, records: Sequence[Record]) -> Sequence[Poison]:
        events, poisons = parse_records(records, parse_event)
        for _, event in events:
            apply_event(self._corpus, event)
        self._corpus.advance(self._clock.now_ms())
        return poisons

    async def _follow(self) -> None:
        """Brings every index up to date with the corpus: what vanished first."""
        changes = await asyncio.to_thread(self._corpus.take_changes)
        indexes = [live for live in (self.active, self._building) if live is not None]
        try:
            for live in indexes:
                await asyncio.to_thread(live.index.remove, changes.hidden)
            for live in indexes:
                await self._add(live, changes.shown)
        except BaseException:
            self._corpus.put_back(changes)  # the consumer tries again, or the process ends
            raise
        self._measure()

    async def _add(self, live: LiveRetrieval, posts: Sequence[Post]) -> None:
        for start in range(0, len(posts), EMBED_POSTS_MAX):
            part = posts[start : start + EMBED_POSTS_MAX]
            ids, authors, created = await asyncio.to_thread(_columns, part)
            vectors = await self._worker.run(partial(live.model.post_vectors, ids, authors))
            self._telemetry.embedded_posts.inc(len(part))
            finite = np.isfinite(vectors).all(axis=1)
            self._telemetry.embed_failures.inc(int((~finite).sum()))
            kept = (ids[finite], authors[finite], created[finite], vectors[finite])
            await asyncio.to_thread(self._insert, live.index, *kept)

    def _insert(self, index: VectorIndex, ids: Ids, *columns: Any) -> None:
        """Adds posts, then takes out those whose delete came while the tower ran.

        In this order no delete is lost: one applied before the look is seen by it, one applied
        later removes the post itself (`_follow`).
        """
        index.upsert(ids, *columns)
        index.remove([id_ for id_ in ids.tolist() if not self._corpus.is_visible(id_)])

    def _measure(self) -> None:
        self._telemetry.corpus_posts.set(len(self._corpus))
        self._telemetry.corpus_tombstones.set(self._corpus.tombstones)
        self._telemetry.tombstones_dropped.set(self._corpus.dropped_tombstones)
        if self.active is not None:
            self._telemetry.index_posts.set(len(self.active.index))
            self._telemetry.index_bytes.set(self.active.index.memory_bytes)


def parse_event(value: bytes) -> events_pb2.PostEvent:
    """Decodes and checks an event. Raises DecodeError or ValueError for one that is of no use."""
    event = events_pb2.PostEvent.FromString(value)
    kind = event.WhichOneof("event")
    if kind is None:
        raise ValueError("the event is of no known kind")
    if kind in ("create", "delete", "undelete"):
        post_id = getattr(event, kind).post_id
        if not 1 <= post_id <= ID_MAX:
            raise ValueError(f"post_id is {post_id}, expected 1 to {ID_MAX}")
    return event


def is_indexed(create: events_pb2.PostCreate) -> bool:
    """Whether retrieval may answer such a post: neither a reply nor a repost."""
    return not (create.HasField("in_reply_to_post_id") or create.HasField("reposted_post_id"))


def apply_event(corpus: Corpus, event: events_pb2.PostEvent) -> None:
    """One event's effect; labels and lost quotes have none."""
    kind = event.WhichOneof("event")
    if kind == "create" and is_indexed(event.create):
        create = event.create
        created_ms = created_ms_of(create.post_id, create.created_at_ms)
        corpus.create(Post(created_ms, create.post_id, create.author_id))
    elif kind == "delete":
        corpus.delete(event.delete.post_id, event.delete.deleted_at_ms)
    elif kind == "undelete":
        corpus.undelete(event.undelete.post_id, event.undelete.undeleted_at_ms)


def _columns(posts: Iterable[Post]) -> tuple[Ids, Ids, NDArray[np.int64]]:
    rows = [(post.post_id, post.author_id, post.created_ms) for post in posts]
    ids, authors, created = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(ids, np.uint64), np.array(authors, np.uint64), np.array(created, np.int64)
