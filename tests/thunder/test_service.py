"""The service over real gRPC: answers, refusals with reasons, load shedding, deadlines."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from thunder.service import SERVICE_NAME
from thunder.shares import Share


class JumpingClock:
    """Each look at the time is four seconds after the last."""

    def __init__(self) -> None:
        self.looks = 0

    def now_ms(self) -> int:
        return 1_750_000_000_000

    def monotonic_s(self) -> float:
        self.looks += 1
        return 4.0 * self.looks


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), str(error.value.details())


async def test_an_answer_carries_what_is_known_of_a_post(serve: Any) -> None:
    async with serve() as served:
        bench = served.bench
        bench.take(
            bench.post(1, author=5, age_ms=9, video=True),
            bench.post(
                2,
                author=6,
                age_ms=8,
                in_reply_to_post_id=1,
                in_reply_to_user_id=5,
                conversation_id=1,
            ),
            bench.post(3, author=6, age_ms=7, reposted_post_id=1, reposted_user_id=5),
        )
        answer = await served.ask(5, 6, 7)
        repost, reply, video = answer.posts
        assert (answer.partial, answer.authors_scanned) == (False, 3)
        assert (repost.post_id, repost.is_repost, repost.source_post_id) == (3, True, 1)
        assert (repost.source_user_id, repost.HasField("in_reply_to_post_id")) == (5, False)
        assert (reply.is_reply, reply.in_reply_to_post_id, reply.conversation_id) == (True, 1, 1)
        assert (video.has_video, video.author_id, video.is_reply) == (True, 5, False)
        assert video.created_at_ms == bench.clock.now_ms() - 9


async def test_nobody_followed_is_an_empty_answer_not_an_error(serve: Any) -> None:
    async with serve() as served:
        answer = await served.ask(following_user_ids=[])
        assert (list(answer.posts), answer.partial) == ([], False)


async def test_bad_requests_name_field_limit_and_size(serve: Any) -> None:
    cases = {
        "following_user_ids has 10001 entries: at most 10000": {
            "following_user_ids": range(1, 10_002)
        },
        "exclude_post_ids has 10001 entries: at most 10000": {"exclude_post_ids": range(1, 10_002)},
        "max_results is 10001: at most 10000": {"max_results": 10_001},
        "algorithm is 'oldest': expected one of '', 'default', 'recent', 'latest'": {
            "algorithm": "oldest"
        },
    }
    async with serve() as served:
        for message, fields in cases.items():
            code, details = await refused(served.ask(**fields))
            assert code == grpc.StatusCode.INVALID_ARGUMENT
            assert message in details
        limits = served.metrics.value("requests_total", kind="posts", code="INVALID_ARGUMENT")
        assert limits == len(cases)


async def test_lists_at_their_limit_are_answered(serve: Any) -> None:
    async with serve() as served:
        served.bench.take(*(served.bench.post(i, author=i) for i in range(1, 2001)))
        everyone = range(1, 10_001)
        answer = await served.ask(following_user_ids=everyone, exclude_post_ids=everyone)
        assert (len(answer.posts), answer.authors_scanned) == (0, 10_000)
        answer = await served.ask(following_user_ids=everyone, max_results=10_000)
        assert len(answer.posts) == 2000


async def test_without_max_results_1200_posts_or_600_videos_come(serve: Any) -> None:
    async with serve() as served:
        bench, authors = served.bench, range(1, 51)
        bench.take(*(bench.post(i, author=i % 50 + 1, video=True) for i in range(1, 2001)))
        for algorithm in ("", "default", "recent", "latest"):
            assert len((await served.ask(*authors, algorithm=algorithm)).posts) == 1200
        assert len((await served.ask(*authors, is_video_request=True)).posts) == 600


async def test_limits_per_author_tighten_the_caps_and_zero_leaves_a_kind_out(serve: Any) -> None:
    async with serve() as served:
        bench = served.bench
        bench.take(*(bench.post(i, age_ms=500 - i, video=True) for i in range(1, 101)))
        bench.take(*(bench.post(i, age_ms=500 - i, reposted_post_id=1) for i in range(101, 201)))

        async def count(**limits: int) -> int:
            return len((await served.ask(1, per_author_limits=limits)).posts)

        assert await count() == 80
        assert await count(max_posts_per_author=3) == 33
        assert await count(max_posts_per_author=3, max_replies_reposts_per_author=0) == 3
        assert await count(max_posts_per_author=500, max_replies_reposts_per_author=500) == 80
        videos = await served.ask(
            1, is_video_request=True, per_author_limits={"max_posts_per_author": 7}
        )
        assert len(videos.posts) == 7


async def test_beyond_capacity_calls_are_refused_at_once(serve: Any) -> None:
    async with serve(max_concurrent_requests=3) as served:
        with served.bench.store._lock.writing():
            running = [asyncio.create_task(served.ask()) for _ in range(3)]
            code = None
            while code is None:  # until all three have their place
                code = await first_refusal(served)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert [answer.partial for answer in await asyncio.gather(*running)] == [False] * 3
        refusals = served.metrics.value("requests_total", kind="posts", code="RESOURCE_EXHAUSTED")
        assert refusals >= 1


async def first_refusal(served: Any) -> grpc.StatusCode | None:
    if served.metrics.value("in_flight_requests") < 3:
        await asyncio.sleep(0)
        return None
    code, details = await refused(served.ask())
    assert "3 queries are running already" in details
    return code


async def test_a_deadline_that_is_too_near_brings_what_was_found(serve: Any) -> None:
    async with serve(clock=JumpingClock()) as served:
        authors = range(1, 3000)
        served.bench.take(*(served.bench.post(i, author=i) for i in authors))
        answer = await served.ask(*authors, deadline_s=10, max_results=5000)
        assert answer.partial
        assert 0 < len(answer.posts) == answer.authors_scanned < 2999
        assert served.metrics.value("partial_answers_total") == 1


async def test_the_services_own_limit_holds_without_a_deadline(serve: Any) -> None:
    async with serve(request_timeout_ms=1) as served:
        answer = await served.ask(1, deadline_s=None)
        assert answer.partial


async def test_a_service_that_lost_its_consumer_refuses(serve: Any) -> None:
    async with serve() as served:
        await served.ask()
        served.readiness.set(SERVICE_NAME, False, "posts died: disk full")
        code, details = await refused(served.ask())
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details == "posts died: disk full"


async def test_queries_and_batches_at_once_agree_with_each_other(serve: Any) -> None:
    """Every answer is some whole number of batches: a batch is seen entirely or not at all."""
    async with serve(query_threads=4) as served:
        bench = served.bench
        batches = [[bench.post(10 * b + i, author=i + 1) for i in range(10)] for b in range(1, 200)]
        writing = asyncio.create_task(asyncio.to_thread(lambda: [bench.take(*b) for b in batches]))
        sizes = set()
        while not writing.done():
            sizes.add(len((await served.ask(*range(1, 11), max_results=10_000)).posts))
        await writing
        assert {size % 10 for size in sizes} == {0}
        assert len((await served.ask(*range(1, 11), max_results=10_000)).posts) == 500


async def test_a_request_for_another_share_is_refused_and_names_both(serve: Any) -> None:
    async with serve(share=Share(1, 2)) as served:
        await served.ask(share_index=1, share_count=2)
        await served.ask()  # whoever does not say takes what there is
        for fields in ({"share_index": 0, "share_count": 2}, {"share_count": 1}):
            code, details = await refused(served.ask(**fields))
            assert code == grpc.StatusCode.FAILED_PRECONDITION
            assert "this replica holds 1/2" in details
        assert "share 0/1" in details
    async with serve() as whole:
        await whole.ask(share_index=0, share_count=1)
        code, details = await refused(whole.ask(share_index=0, share_count=2))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "for share 0/2 of the authors and this replica holds 0/1" in details
