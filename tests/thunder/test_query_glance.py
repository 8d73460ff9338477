"""A query first guesses from entries alone how old its last post is: it must never lose by it."""

from __future__ import annotations

from itertools import chain, repeat
from typing import Any

import numpy as np

from thunder import layout
from thunder.query_begin import GLANCE_AUTHORS_MAX
from thunder.store import QUERY_AUTHORS, SECONDARY_PER_AUTHOR_MAX

VIEWER = 999


def test_posts_that_the_rules_drop_do_not_hide_older_ones(bench: Any) -> None:
    """Every author's newest are reposts of the viewer: they seem to be enough and none is shown."""
    authors = range(1, 101)
    old = [bench.post(1_000 + a, author=a, age_ms=90_000 + a) for a in authors]
    reposts = [
        bench.post(
            10_000 + 10 * a + i, author=a, age_ms=10 * a + i, reposted_post_id=7,
            reposted_user_id=VIEWER,
        )
        for a in authors for i in range(3)
    ]  # fmt: skip
    bench.take(*old, *reposts)
    expected = [1_000 + a for a in authors]
    assert bench.ids(*authors, viewer_id=VIEWER, results_max=60) == expected[:60]
    assert bench.ids(*authors, viewer_id=VIEWER, results_max=100) == expected


def test_a_misled_query_of_many_authors_walks_all_of_them_again(bench: Any) -> None:
    """A second walk that went on where the first ended would find nothing."""
    authors = range(1, QUERY_AUTHORS + 101)
    old = [bench.post(10_000 + a, author=a, age_ms=90_000 + a) for a in authors]
    reposts = [
        bench.post(20_000 + a, author=a, age_ms=a, reposted_post_id=7, reposted_user_id=VIEWER)
        for a in authors
    ]
    bench.take(*old, *reposts)
    for asked in (QUERY_AUTHORS, QUERY_AUTHORS + 100):
        found = bench.ids(*authors[:asked], viewer_id=VIEWER, results_max=asked)
        assert found == [10_000 + a for a in authors[:asked]]


def test_a_query_out_of_time_says_how_far_it_came(bench: Any) -> None:
    """Whoever shows a cut answer as a whole one hides what others wrote."""
    authors = range(1, QUERY_AUTHORS + 101)
    bench.take(*(bench.post(a, author=a, age_ms=a) for a in authors))
    for asked, scanned in ((1, 0), (2, QUERY_AUTHORS), (3, QUERY_AUTHORS + 100)):
        turns = chain(repeat(False, asked - 1), repeat(True))
        found = bench.found(*authors, results_max=2_000, out_of_time=lambda t=turns: next(t))
        assert (found.authors_scanned, found.partial) == (scanned, asked < 3)
        assert found.posts["post_id"].tolist() == list(authors[:scanned])


def test_the_newest_of_many_authors_are_the_newest_of_all(bench: Any) -> None:
    """More authors than are glanced at, one of whom alone wrote lately, and ties in time."""
    rng = np.random.default_rng(5)
    count, authors = 6_000, 3 * GLANCE_AUTHORS_MAX
    posts = np.zeros(count, layout.ROW)
    posts["post_id"] = rng.permutation(count) + 1
    posts["author_id"] = rng.integers(1, authors + 1, count)
    posts["created_at_ms"] = bench.clock.now_ms() - 1_000 - rng.integers(0, 800, count)
    posts["author_id"][:40] = 2
    posts["created_at_ms"][:40] += 900
    bench.store.insert(posts, np.zeros(count, np.uint8))
    order = np.lexsort((posts["post_id"], posts["created_at_ms"]))[::-1]
    for results_max in (1, 39, 700, 5_000):
        found = bench.ids(*range(1, authors + 1), results_max=results_max)
        assert found == posts["post_id"][order][:results_max].tolist()


def test_a_few_authors_of_many_replies_give_their_share(bench: Any) -> None:
    """Replies count for little in the guess; the caps must hold all the same."""
    bench.take(bench.post(1, author=5, age_ms=100_000))
    replies = [
        bench.post(100 + i, author=1 + i % 3, age_ms=i, in_reply_to_post_id=1) for i in range(600)
    ]
    bench.take(*replies)
    found = bench.ids(1, 2, 3, results_max=50)
    assert found == [100 + i for i in range(50)]
    assert len(bench.ids(1, 2, 3, results_max=1_200)) == 3 * SECONDARY_PER_AUTHOR_MAX


def test_excluded_posts_do_not_count_in_the_guess(bench: Any) -> None:
    """Whoever has seen the newest must get the next."""
    authors = range(1, 41)
    bench.take(
        *(
            bench.post(100 * a + i, author=a, age_ms=i * 1_000 + a)
            for a in authors
            for i in range(9)
        )
    )
    seen = [100 * a + i for a in authors for i in range(5)]
    expected = [100 * a + 5 for a in authors] + [100 * a + 6 for a in authors]
    assert bench.ids(*authors, excluded=seen, results_max=80) == expected
