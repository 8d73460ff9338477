"""From interactions to what happened: posts, deaths, revivals, lost quotes and follows.

B is given a post when A reposts, answers or mentions B and B has posted nothing lately; A's
act is a repost of, reply to or quote of B's newest post. 4 to 7 July, squeezed to ``SPAN_MS``,
end at ``end_ms`` in their real order and bursts; 1 to 3 July become the follow graph. A thread is
one such post and everything that hangs on it; whole threads are drawn until the events are enough,
so the sample has the bursts of the whole. Deterministic by seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.events import Create, Event, Follow, QuoteGone, Status
from benchmarks.replay.interactions import REPLAY_FROM_S, REPLY, REPOST, Interactions
from service_kit.clock import ManualClock
from service_kit.snowflake import SnowflakeGenerator

HOUR_MS = 3_600_000
SPAN_MS = 44 * HOUR_MS  # inside the retention of two days for four more hours
AGED_MS = 60 * HOUR_MS  # what is moved back by so much is older than the retention
NEW_POST_AFTER_MS = 300_000  # of squeezed time: ten real minutes
AGED_SHARE = 0.01  # of the threads: thunder and the index must refuse these
AGED_ALONG_SHARE = 0.5  # of what hangs on a post moved back; the rest is young and refers to it
DELETE_SHARE = 0.08
UNDELETE_SHARE = 0.3  # of the deleted
TIED_SHARE = 0.2  # of the undeletes: at their delete's own millisecond, so the delete holds
DELETE_AGAIN_SHARE = 0.1  # of the undeleted
UNDELETE_ALONE_SHARE = 0.002  # undeletes of posts that nobody deleted
LIFETIME_MS = 90 * 60_000  # mean time to the next change
VIDEO_SHARE = 0.1
FOLLOWS_MAX = 20_000
UNFOLLOW_SHARE = 0.1
NOTHING = -1


class NotEnoughError(ValueError):
    """The interactions do not hold as many events as were asked for."""


@dataclass(slots=True)
class Draft:
    """A post before it has an id. Places are indices of the list of drafts."""

    author_id: int
    due_ms: int  # where in the replay it is sent
    at_ms: int  # when it says it was created
    thread: int
    act: int = NOTHING  # REPOST, REPLY or MENTION of…
    target: int = NOTHING
    root: int = NOTHING
    changes: list[tuple[int, bool]] = field(default_factory=list)  # (at_ms, deleted)


@dataclass(frozen=True, slots=True)
class Replay:
    """``due`` [(due_ms, event)] by due time; ``ends``: the newest event's time."""

    due: list[tuple[int, Event]]
    end_ms: int

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.due]

    def counts(self) -> dict[str, int]:
        """Events by kind."""
        names = [_name(event) for event in self.events]
        return {name: names.count(name) for name in sorted(set(names))}


def derive(interactions: Interactions, *, events: int, seed: int, end_ms: int) -> Replay:
    """``events`` post events and at most FOLLOWS_MAX follows; NotEnoughError where it cannot."""
    rng = np.random.default_rng(seed)
    late = interactions.at_s >= REPLAY_FROM_S
    rows = interactions.where(late)
    drafts = _drafts(rows, _squeezed(rows.at_s, end_ms), rng)
    for draft in drafts:
        draft.changes = _changes(draft, end_ms, rng)
    chosen = _chosen(drafts, events, rng)
    due = _events(drafts, chosen, end_ms, rng)
    if len(due) < events:
        raise NotEnoughError(f"{len(due)} events can be derived, {events} were asked for")
    follows = _follows(interactions.where(~late), end_ms, rng)
    return Replay(sorted(follows + due[:events], key=lambda item: item[0]), end_ms)


def _squeezed(at_s: NDArray[np.int64], end_ms: int) -> NDArray[np.int64]:
    """Milliseconds [N] in SPAN_MS before ``end_ms``; those of one second are spread inside it."""
    _, first, count = np.unique(at_s, return_index=True, return_counts=True)
    rank = np.arange(at_s.size) - np.repeat(first, count)
    at = at_s + rank / np.repeat(count, count)
    share = (at - at[0]) / max(1.0, at[-1] - at[0])
    at_ms: NDArray[np.int64] = (end_ms - SPAN_MS + share * (SPAN_MS - HOUR_MS)).astype(np.int64)
    return at_ms


def _drafts(rows: Interactions, at_ms: NDArray[np.int64], rng: np.random.Generator) -> list[Draft]:
    """Posts in the order of time."""
    drafts: list[Draft] = []
    newest: dict[int, int] = {}  # author → their newest post that is not a repost
    aged, along = rng.random(at_ms.size) < AGED_SHARE, rng.random(at_ms.size) < AGED_ALONG_SHARE
    columns = zip(*(c.tolist() for c in (rows.actor, rows.target, at_ms, rows.kind)), strict=True)
    for row, (actor, target, now_ms, act) in enumerate(columns):
        at = newest.get(target, NOTHING)
        if at == NOTHING or now_ms - drafts[at].due_ms > NEW_POST_AFTER_MS:
            at = newest[target] = len(drafts)
            moved_ms = AGED_MS if aged[row] else 0
            drafts.append(Draft(target, now_ms - 1, now_ms - 1 - moved_ms, thread=at))
        parent = drafts[at]
        moved_ms = parent.due_ms - parent.at_ms if along[row] else 0
        draft = Draft(actor, now_ms, now_ms - moved_ms, parent.thread, act, at)
        draft.root = at if parent.root == NOTHING else parent.root
        if act != REPOST:
            newest[actor] = len(drafts)
        drafts.append(draft)
    return drafts


def _changes(draft: Draft, end_ms: int, rng: np.random.Generator) -> list[tuple[int, bool]]:
    """Deletes and undeletes of one post; an aged post may die lately or have died in its time."""
    dice = rng.random(5)
    since_ms = draft.at_ms if dice[4] < 0.5 else draft.due_ms
    if dice[0] >= DELETE_SHARE:
        alone = dice[0] >= 1 - UNDELETE_ALONE_SHARE
        return [(_later(since_ms, end_ms, rng), False)] if alone else []
    changes = [(_later(since_ms, end_ms, rng), True)]
    if dice[1] < UNDELETE_SHARE:
        gone_ms = changes[0][0]
        tied = dice[2] < TIED_SHARE
        changes.append((gone_ms if tied else _later(gone_ms, end_ms, rng), False))
        if dice[3] < DELETE_AGAIN_SHARE:
            changes.append((_later(changes[1][0], end_ms, rng), True))
    return changes


def _later(at_ms: int, end_ms: int, rng: np.random.Generator) -> int:
    return min(end_ms, at_ms + 1 + int(rng.exponential(LIFETIME_MS)))


def _chosen(drafts: list[Draft], events: int, rng: np.random.Generator) -> set[int]:
    """Threads drawn until they hold ``events``; lost quotes, a few more, are not counted."""
    sizes: dict[int, int] = {}
    for draft in drafts:
        sizes[draft.thread] = sizes.get(draft.thread, 0) + 1 + len(draft.changes)
    threads = np.array(list(sizes), np.int64)
    rng.shuffle(threads)
    ends = np.cumsum([sizes[thread] for thread in threads.tolist()])
    return set(threads[: int(np.searchsorted(ends, events)) + 1].tolist())


def _events(
    drafts: list[Draft], chosen: set[int], end_ms: int, rng: np.random.Generator
) -> list[tuple[int, Event]]:
    """Everything of the chosen threads by due time, so that a cut loses the newest only."""
    ids = SnowflakeGenerator(1, ManualClock(end_ms))
    post_ids: dict[int, int] = {}
    due: list[tuple[int, Event]] = []
    for place, draft in enumerate(drafts):
        if draft.thread in chosen:
            post_ids[place] = ids.next(draft.at_ms)
            due += _events_of(drafts, place, post_ids, end_ms, rng)
    due.sort(key=lambda item: item[0])
    return due


def _events_of(
    drafts: list[Draft],
    place: int,
    post_ids: dict[int, int],
    end_ms: int,
    rng: np.random.Generator,
) -> list[tuple[int, Event]]:
    draft, post_id = drafts[place], post_ids[place]
    create = _create(drafts, draft, post_ids, post_id, rng)
    due: list[tuple[int, Event]] = [(draft.due_ms, create)]
    for at_ms, deleted in draft.changes:
        change = Status(post_id, draft.author_id, at_ms, deleted)
        due.append((max(at_ms, draft.due_ms + 1), change))
    if create.quoted_id:
        deaths = [at_ms for at_ms, deleted in drafts[draft.target].changes if deleted]
        if deaths:
            gone_ms = min(end_ms, max(deaths[0], draft.at_ms) + 1)
            gone = QuoteGone(post_id, draft.author_id, gone_ms, create.quoted_id)
            due.append((max(gone_ms, draft.due_ms + 1), gone))
    return due


def _create(
    drafts: list[Draft],
    draft: Draft,
    post_ids: dict[int, int],
    post_id: int,
    rng: np.random.Generator,
) -> Create:
    text = f"post {post_id} by {draft.author_id}: H → γγ"
    video_ms = int(rng.integers(1_000, 60_000)) if rng.random() < VIDEO_SHARE else 0
    create = Create(post_id, draft.author_id, draft.at_ms, text)
    if draft.target == NOTHING:
        return create._replace(video_ms=video_ms)
    target_id, target_user = post_ids[draft.target], drafts[draft.target].author_id
    if draft.act == REPOST:
        return create._replace(text="", source_id=target_id, source_user_id=target_user)
    if draft.act == REPLY:
        root_id = post_ids[draft.root]
        return create._replace(parent_id=target_id, parent_user_id=target_user, root_id=root_id)
    return create._replace(quoted_id=target_id, quoted_user_id=target_user, video_ms=video_ms)


def _follows(rows: Interactions, end_ms: int, rng: np.random.Generator) -> list[tuple[int, Event]]:
    """A follows B after the first interaction; a few unfollow later."""
    pairs = dict.fromkeys(zip(rows.actor.tolist(), rows.target.tolist(), strict=True))
    start_ms = end_ms - SPAN_MS
    due: list[tuple[int, Event]] = []
    for number, (user_id, target_id) in enumerate(list(pairs)[:FOLLOWS_MAX]):
        at_ms = start_ms - FOLLOWS_MAX + number
        due.append((start_ms, Follow(user_id, target_id, at_ms, False)))
        if rng.random() < UNFOLLOW_SHARE:
            later_ms = _later(start_ms, end_ms, rng)
            due.append((later_ms, Follow(user_id, target_id, later_ms, True)))
    return due


def _name(event: Event) -> str:
    if isinstance(event, Status):
        return "delete" if event.deleted else "undelete"
    return {Create: "create", QuoteGone: "quote_gone", Follow: "follow"}[type(event)]
