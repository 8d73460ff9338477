"""One object a candidate, and the machine that runs components over lists of them.

The shape of x-algorithm's candidate-pipeline (January 2026): a hydrator or scorer returns fresh
candidates that hold only its own fields, in order, and `update` copies them over; hydrators of a
group see one snapshot and run together; filters partition one after the other, and before each
the list is cloned, to be restored if it fails; then select, hydrate and filter late, truncate.
`clones_once` makes one clone of the hydrated list instead, as if filters could not fail. Refilling
from the tail is ours, and the same as in the columnar version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from home_mixer.query import ScoredPostsQuery


@dataclass(slots=True)
class Candidate:
    """Every field of a candidate; None where not known."""

    post_id: int = 0
    sources: int = 0
    author_id: int = 0
    created_at_ms: int | None = None
    in_reply_to_post_id: int | None = None
    in_reply_to_user_id: int | None = None
    conversation_id: int | None = None
    reposted_post_id: int | None = None
    reposted_user_id: int | None = None
    quoted_post_id: int | None = None
    quoted_author_id: int | None = None
    text: str = ""
    reposted_text: str = ""
    quoted_text: str = ""
    ancestors: tuple[int, ...] = ()
    in_network: bool | None = None
    video_duration_ms: int | None = None
    has_media: bool = False
    subscription_author_id: int | None = None
    reposted_subscription_author_id: int | None = None
    author_screen_name: str = ""
    reposted_screen_name: str = ""
    author_verified: bool = False
    author_followers_count: int | None = None
    author_blocks_viewer: bool = False
    mutual_follow: bool = False
    core_data_found: bool | None = None
    served_type: int = 0
    heads: tuple[float, ...] | None = None
    weighted: float | None = None
    offset: float | None = None
    diversity: float = 1.0
    oon: float = 1.0
    score: float | None = None
    last_scored_at_ms: int = 0
    prediction_request_id: int = 0
    visibility_action: int = -1
    visibility_reason: str = ""


Candidates = list[Candidate]
_all_fields = attrgetter(*(field.name for field in fields(Candidate)))


def cloned(candidates: Candidates) -> Candidates:
    """A copy of every object, the quickest way that plain Python has."""
    return [Candidate(*_all_fields(candidate)) for candidate in candidates]


Step = Callable[[ScoredPostsQuery, Candidates], Awaitable[Candidates]]


@dataclass(frozen=True)
class Updater:
    """A hydrator or scorer: fresh candidates, and the fields of them that are its own."""

    run: Step
    fields: tuple[str, ...]

    def update_all(self, candidates: Candidates, fresh: Candidates) -> None:
        """Copies the own fields over; a wrong length is refused."""
        if len(fresh) != len(candidates):
            raise ValueError(f"{len(fresh)} came for {len(candidates)} candidates")
        for name in self.fields:
            for candidate, hydrated in zip(candidates, fresh, strict=True):
                setattr(candidate, name, getattr(hydrated, name))


Filter = Callable[[ScoredPostsQuery, Candidates], Candidates]


@dataclass(frozen=True)
class ObjectPipeline:
    """Lists of parts, as in the columnar one."""

    query_hydrators: Sequence[Callable[[ScoredPostsQuery], Awaitable[ScoredPostsQuery]]]
    sources: Sequence[Callable[[ScoredPostsQuery], Awaitable[Candidates]]]
    hydrator_groups: Sequence[Sequence[Updater]]
    filters: Sequence[Filter]
    scorers: Sequence[Updater]
    late_hydrators: Sequence[Updater]
    late_filters: Sequence[Filter]
    clones_once: bool = False

    async def execute(self, query: ScoredPostsQuery) -> tuple[Candidates, Candidates]:
        """(the feed, all retrieved candidates as they stood before the filters)."""
        for hydrate in self.query_hydrators:
            query = await hydrate(query)
        lists = await asyncio.gather(*(fetch(query) for fetch in self.sources))
        for bit, found in enumerate(lists):
            for candidate in found:
                candidate.sources = 1 << bit
        candidates = [candidate for found in lists for candidate in found]
        for group in self.hydrator_groups:
            await _hydrate(query, group, candidates)
        retrieved = cloned(candidates) if self.clones_once else candidates
        candidates = self._filtered(query, self.filters, candidates)
        for scorer in self.scorers:
            scorer.update_all(candidates, await scorer.run(query, candidates))
        ranked = sorted(candidates, key=_rank)
        return await self._finish(query, ranked), retrieved

    async def _finish(self, query: ScoredPostsQuery, ranked: Candidates) -> Candidates:
        """The same refill as the columnar pipeline's: twice as far in each of four rounds."""
        size, wanted = query.params.top_k, query.params.result_size
        taken, feed = size, await self._late(query, [], ranked[:size])
        for rounds in range(4):
            if len(feed) >= wanted or taken >= len(ranked):
                break
            reach = taken + ((wanted - len(feed)) << rounds)
            feed = await self._late(query, feed, ranked[taken:reach])
            taken = reach
        return feed[:wanted]

    async def _late(
        self, query: ScoredPostsQuery, feed: Candidates, more: Candidates
    ) -> Candidates:
        await _hydrate(query, self.late_hydrators, more)
        return self._filtered(query, self.late_filters, feed + more)

    def _filtered(
        self, query: ScoredPostsQuery, filters: Sequence[Filter], candidates: Candidates
    ) -> Candidates:
        for keep in filters:
            backup = [] if self.clones_once else cloned(candidates)
            try:
                candidates = keep(query, candidates)
            except ArithmeticError:  # as the original: a failed filter has no effect
                candidates = backup
        return candidates


async def _hydrate(
    query: ScoredPostsQuery, group: Sequence[Updater], candidates: Candidates
) -> None:
    """All of a group see the same snapshot; their fields are merged in declared order."""
    answers = await asyncio.gather(*(one.run(query, candidates) for one in group))
    for one, fresh in zip(group, answers, strict=True):
        one.update_all(candidates, fresh)


def _rank(candidate: Candidate) -> tuple[bool, float, int]:
    score: Any = candidate.score
    return (score is None, -score if score is not None else 0.0, -candidate.post_id)
