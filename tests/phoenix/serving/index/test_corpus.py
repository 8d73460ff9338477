"""The corpus must not depend on the order, repetition or lateness of events."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phoenix.index.corpus import Corpus, Post, created_ms_of
from service_kit.snowflake import first_id_at

START_MS = 1_750_000_000_000
RETENTION_MS = 1_000
POSTS_MAX = 6


def post_at(minute, number=0):
    post_id = first_id_at(START_MS + minute * 100) + number
    return Post(created_ms_of(post_id, 0), post_id, author_id=1 + number)


POSTS = [post_at(minute, number) for minute in range(0, 30, 3) for number in range(2)]


class Oracle:
    """Remembers every event for ever and recomputes the answer from scratch."""

    def __init__(self):
        self.created, self.changes, self.now_ms = set(), set(), 0

    def held(self):
        young = [p for p in self.created if p.created_ms >= self.now_ms - RETENTION_MS]
        return sorted(young)[-POSTS_MAX:]

    def visible(self):
        return {p.post_id for p in self.held() if not self.deleted(p.post_id)}

    def deleted(self, post_id):
        newest = max((c[1:] for c in self.changes if c[0] == post_id), default=(0, False))
        return newest[1]


class CorpusMachine(RuleBasedStateMachine):
    """Random events beside the oracle; the change feed must rebuild the same set."""

    def __init__(self):
        super().__init__()
        self.corpus = Corpus(posts_max=POSTS_MAX, retention_ms=RETENTION_MS)
        self.oracle = Oracle()
        self.followed = set()

    @rule(post=st.sampled_from(POSTS))
    def create(self, post):
        if post.created_ms >= self.oracle.now_ms - RETENTION_MS:
            self.oracle.created.add(post)
        self.corpus.create(post)

    @precondition(lambda self: self.corpus.tombstones < POSTS_MAX)
    @rule(post=st.sampled_from(POSTS), after_ms=st.integers(0, 3), deleted=st.booleans())
    def change(self, post, after_ms, deleted):
        at_ms = post.created_ms + after_ms
        self.oracle.changes.add((post.post_id, at_ms, deleted))
        (self.corpus.delete if deleted else self.corpus.undelete)(post.post_id, at_ms)

    @rule(step_ms=st.integers(0, 700))
    def advance(self, step_ms):
        self.oracle.now_ms = max(self.oracle.now_ms, START_MS) + step_ms
        self.corpus.advance(self.oracle.now_ms)

    @rule()
    def follow(self):
        changes = self.corpus.take_changes()
        self.followed |= {post.post_id for post in changes.shown}
        self.followed -= set(changes.hidden)
        assert self.followed == self.oracle.visible()

    @invariant()
    def equals_the_oracle(self):
        assert {post.post_id for post in self.corpus.visible_posts()} == self.oracle.visible()
        assert len(self.corpus) <= POSTS_MAX


TestCorpusMachine = CorpusMachine.TestCase
TestCorpusMachine.settings = settings(max_examples=80, stateful_step_count=40)


def test_a_delete_that_arrives_first_keeps_the_post_out_of_sight():
    corpus, post = Corpus(posts_max=10, retention_ms=1000), post_at(0)
    corpus.delete(post.post_id, post.created_ms + 5)
    corpus.create(post)
    assert not corpus.is_visible(post.post_id)
    corpus.undelete(post.post_id, post.created_ms + 4)  # older than the delete
    assert not corpus.is_visible(post.post_id)
    corpus.undelete(post.post_id, post.created_ms + 6)
    assert corpus.is_visible(post.post_id)


def test_deletes_past_the_limit_take_their_posts_along_instead_of_showing_them():
    corpus = Corpus(posts_max=2, retention_ms=10_000)
    for post in POSTS[:3]:
        corpus.create(post)
        corpus.delete(post.post_id, post.created_ms + 1)
    assert corpus.tombstones == 2
    assert corpus.dropped_tombstones == 1
    assert list(corpus.visible_posts()) == []


@pytest.mark.parametrize("post_id", [1, 10**12])
def test_ids_from_before_snowflakes_use_the_stated_time(post_id):
    assert created_ms_of(post_id, 1234) == 1234


def test_a_delete_outlives_its_post_even_where_the_id_tells_no_time():
    corpus = Corpus(posts_max=10, retention_ms=100)
    corpus.create(Post(created_ms=1000, post_id=7, author_id=1))
    corpus.delete(7, at_ms=950)
    corpus.advance(1075)
    assert not corpus.is_visible(7)
    corpus.advance(1101)
    assert len(corpus) == corpus.tombstones == 0
