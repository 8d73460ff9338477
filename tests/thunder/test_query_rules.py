"""The rules of a query, case by case, with the limits as published."""

from __future__ import annotations

from typing import Any

from protos.events_pb2 import Media

A, B, C, VIEWER = 11, 12, 13, 999


def reply(bench: Any, post_id: int, author: int, parent: int, user: int, root: int) -> Any:
    return bench.post(
        post_id,
        author=author,
        age_ms=100 - post_id,
        in_reply_to_post_id=parent,
        in_reply_to_user_id=user,
        conversation_id=root,
    )


def test_reply_rule_golden_case(bench: Any) -> None:
    """The viewer follows A and B; the published example keeps 1, 2 and 3."""
    bench.take(
        bench.post(1, author=A, age_ms=99),
        reply(bench, 2, B, 1, A, 1),  # parent is an original
        reply(bench, 3, A, 2, B, 1),  # parent replies to the root, B is followed
        reply(bench, 4, A, 99, C, 99),  # parent unknown
        bench.post(5, author=C, age_ms=95),  # not followed
        bench.post(6, author=B, age_ms=94, reposted_post_id=50, reposted_user_id=VIEWER),
    )
    found = bench.found(A, B, viewer_id=VIEWER)
    assert found.posts["post_id"].tolist() == [3, 2, 1]
    assert found.counts["unknown_parent"] == found.counts["own_repost"] == 1


def test_a_reply_deep_in_a_thread_of_strangers_is_left_out(bench: Any) -> None:
    bench.take(
        bench.post(1, author=C, age_ms=99),
        reply(bench, 2, C, 1, C, 1),
        reply(bench, 3, A, 2, C, 1),  # the replied-to user is not followed
        reply(bench, 4, B, 3, A, 1),  # its parent does not reply to the root
    )
    assert bench.ids(A, B) == []
    assert bench.ids(A, B, C) == [3, 2, 1]


def test_a_repost_is_no_original_to_reply_under(bench: Any) -> None:
    bench.take(
        bench.post(1, author=C, age_ms=99),
        bench.post(2, author=C, age_ms=98, reposted_post_id=1, reposted_user_id=C),
        reply(bench, 3, A, 2, C, 2),
        reply(bench, 4, A, 1, C, 1),
    )
    assert bench.ids(A) == [4]


def test_a_reply_goes_with_its_deleted_parent_and_comes_back(bench: Any) -> None:
    bench.take(bench.post(1, author=C, age_ms=99), reply(bench, 2, A, 1, C, 1))
    bench.take(bench.delete(1, age_ms=2))
    assert bench.ids(A) == []
    bench.take(bench.undelete(1, age_ms=1))
    assert bench.ids(A) == [2]


def test_caps_per_author_are_50_30_and_100(bench: Any) -> None:
    bench.take(*(bench.post(i, age_ms=1000 - i, video=True) for i in range(1, 201)))
    bench.take(*(bench.post(i, reposted_post_id=7, age_ms=1000 - i) for i in range(201, 301)))
    assert bench.ids() == [*range(300, 270, -1), *range(200, 150, -1)]
    assert len(bench.ids(videos=True)) == 100


def test_the_scan_stops_after_500_posts_that_are_left_out_by_rule(bench: Any) -> None:
    bench.take(bench.post(1, author=A, age_ms=5000))
    bench.take(bench.post(2, author=B, age_ms=4000, reposted_post_id=1, reposted_user_id=A))
    own = {"reposted_post_id": 1, "reposted_user_id": VIEWER}
    bench.take(*(bench.post(i, author=B, age_ms=3000 - i, **own) for i in range(10, 509)))
    assert bench.ids(B, viewer_id=VIEWER) == [2]
    bench.take(bench.post(600, author=B, age_ms=1, **own))
    assert bench.ids(B, viewer_id=VIEWER) == []


def test_excluded_posts_use_up_no_scan_window(bench: Any) -> None:
    bench.take(*(bench.post(i, age_ms=1000 - i) for i in range(1, 602)))
    assert bench.ids(excluded=list(range(2, 602))) == [1]


def test_a_video_is_one_medium_of_at_least_five_seconds(bench: Any) -> None:
    def media(*durations_ms: int, kind: Any = Media.KIND_VIDEO) -> list[Media]:
        return [Media(kind=kind, duration_ms=duration_ms) for duration_ms in durations_ms]

    bench.take(
        bench.post(1, media=media(5000)),
        bench.post(2, media=media(4999)),
        bench.post(3, media=media(9000, 9000)),
        bench.post(4, media=media(9000, kind=Media.KIND_PHOTO)),
        bench.post(5, media=media(9000), in_reply_to_post_id=1),
    )
    assert bench.ids(videos=True) == [1]
    assert bench.found().posts.size == 5


def test_a_reposted_video_counts_unless_it_is_a_reply(bench: Any) -> None:
    bench.take(
        bench.post(1, author=C, age_ms=99, video=True),
        bench.post(2, author=C, age_ms=98, video=True, in_reply_to_post_id=1),
        bench.post(3, author=A, age_ms=97, reposted_post_id=1, reposted_user_id=C),
        bench.post(4, author=A, age_ms=96, reposted_post_id=2, reposted_user_id=C),
    )
    assert bench.ids(A, videos=True) == [3]


def test_results_are_cut_to_the_newest_with_ties_by_larger_id(bench: Any) -> None:
    bench.take(*(bench.post(i, author=i % 5 + 1, age_ms=i // 10) for i in range(1, 101)))
    assert bench.ids(*range(1, 6), results_max=12) == [*range(9, 0, -1), 19, 18, 17]


def test_ids_with_the_highest_bit_are_ids_like_others(bench: Any) -> None:
    top = (1 << 64) - 1
    bench.take(bench.post(top, author=top), bench.post(1, author=2, reposted_post_id=top))
    assert bench.ids(top, 2, viewer_id=top) == [top, 1]
    bench.take(bench.delete(top))
    assert bench.ids(top, 2) == []
