"""What thunder is asked, and what becomes of its answer."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from candidate_pipeline.errors import Degraded
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import SCHEMA, SERVED_IN_NETWORK
from home_mixer.sources.thunder_source import FOLLOWED_MAX, ThunderSource
from protos import thunder_pb2

LightPost = thunder_pb2.LightPost


def answer_of(*posts: Any, **fields: Any) -> bytes:
    """As it comes over the wire."""
    answer = thunder_pb2.GetInNetworkPostsResponse(posts=posts, **fields)
    return answer.SerializeToString()


async def fetched(method: Any, query: Any) -> CandidateTable:
    source = ThunderSource([method], 100.0)
    assert source.enable(query)
    return CandidateTable.from_columns(SCHEMA, await source.fetch(query))


async def test_it_asks_for_the_followed_accounts(fake_method: Any, make_query: Any) -> None:
    method = fake_method(answer_of())
    query = make_query(followed_user_ids=[5, 3], seen_ids=[9], user_features_age_ms=0)
    assert len(await fetched(method, query)) == 0
    (request,) = method.requests
    assert list(request.following_user_ids) == [3, 5]
    assert list(request.exclude_post_ids) == [9]
    assert (request.user_id, request.max_results) == (1, 1_200)
    assert request.algorithm == "default"
    assert method.timeouts[0] == pytest.approx(0.09)  # thunder ends before its caller gives up


async def test_all_fields_become_columns(fake_method: Any, make_query: Any) -> None:
    posts = [
        LightPost(post_id=10, author_id=1, created_at_ms=50),
        LightPost(
            post_id=11,
            author_id=2,
            created_at_ms=51,
            in_reply_to_post_id=7,
            in_reply_to_user_id=8,
            is_reply=True,
            conversation_id=6,
        ),
        LightPost(post_id=12, author_id=3, is_reply=True, in_reply_to_post_id=6, conversation_id=6),
        LightPost(post_id=13, author_id=4, is_repost=True, source_post_id=10, source_user_id=1),
    ]
    query = make_query(user_features_age_ms=0)
    table = await fetched(fake_method(answer_of(*posts)), query)
    assert table["post_id"].tolist() == [10, 11, 12, 13]
    assert table["created_at_ms"].tolist() == [50, 51, 0, 0]
    assert table["in_reply_to_user_id"].tolist() == [0, 8, 0, 0]
    assert table["reposted_post_id"].tolist() == [0, 0, 0, 10]
    assert table["reposted_user_id"].tolist() == [0, 0, 0, 1]
    assert table["in_reply_to_post_id"].tolist() == [0, 7, 6, 0]
    assert table["conversation_id"].tolist() == [0, 6, 6, 0]
    assert set(table["served_type"].tolist()) == {SERVED_IN_NETWORK}


async def test_a_partial_answer_is_used_and_said(fake_method: Any, make_query: Any) -> None:
    answer = answer_of(LightPost(post_id=10, author_id=1), partial=True)
    source = ThunderSource([fake_method(answer)], 100.0)
    with pytest.raises(Degraded) as caught:
        await source.fetch(make_query())
    assert caught.value.reason == "partial"
    assert caught.value.output is not None
    assert np.asarray(caught.value.output["post_id"]).tolist() == [10]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "resource_exhausted"),
    ],
)
async def test_a_failure_has_its_reason(
    fake_method: Any, make_query: Any, code: grpc.StatusCode, reason: str
) -> None:
    with pytest.raises(Degraded) as caught:
        await ThunderSource([fake_method(code)], 100.0).fetch(make_query())
    assert (caught.value.reason, caught.value.output) == (reason, None)


async def test_an_answer_that_is_no_protobuf_is_a_reason_and_not_a_crash(
    fake_method: Any, make_query: Any
) -> None:
    with pytest.raises(Degraded) as caught:
        await ThunderSource([fake_method(answer_of()[:-1] + b"\x0a\x05")], 100.0).fetch(
            make_query()
        )
    assert (caught.value.reason, caught.value.output) == ("malformed", None)


async def test_a_list_beyond_thunders_limit_is_cut_and_said(
    fake_method: Any, make_query: Any
) -> None:
    method = fake_method(answer_of())
    query = make_query(followed_user_ids=np.arange(1, FOLLOWED_MAX + 2))
    with pytest.raises(Degraded, match="followed_truncated"):
        await ThunderSource([method], 100.0).fetch(query)
    assert len(method.requests[0].following_user_ids) == FOLLOWED_MAX


def test_nothing_is_fetched_while_blocks_and_mutes_are_unknown(
    fake_method: Any, make_query: Any
) -> None:
    unknown = make_query(user_features_age_ms=-1)
    assert not ThunderSource([fake_method()], 100.0).enable(unknown)
    assert ThunderSource([fake_method()], 100.0, fail_closed=False).enable(unknown)


async def test_every_share_is_asked_for_itself_with_the_whole_list(
    fake_method: Any, make_query: Any
) -> None:
    shares = [fake_method(answer_of()), fake_method(answer_of())]
    await ThunderSource(shares, 100.0).fetch(make_query(followed_user_ids=[5, 3]))
    for index, share in enumerate(shares):
        (request,) = share.requests
        assert (request.share_index, request.share_count) == (index, 2)
        assert list(request.following_user_ids) == [3, 5], "rules look at everybody followed"


async def test_the_shares_answers_become_one_newest_first(
    fake_method: Any, make_query: Any
) -> None:
    first = [LightPost(post_id=i, author_id=1, created_at_ms=t) for i, t in ((9, 50), (3, 20))]
    second = [LightPost(post_id=i, author_id=2, created_at_ms=t) for i, t in ((8, 50), (5, 30))]
    shares = [fake_method(answer_of(*first)), fake_method(answer_of(*second))]
    columns = await ThunderSource(shares, 100.0).fetch(make_query())
    assert np.asarray(columns["post_id"]).tolist() == [9, 8, 5, 3]


async def test_a_missing_share_is_named_and_the_others_are_served(
    fake_method: Any, make_query: Any
) -> None:
    answer = answer_of(LightPost(post_id=10, author_id=1), partial=True)
    shares = [fake_method(answer), fake_method(grpc.StatusCode.UNAVAILABLE)]
    with pytest.raises(Degraded) as caught:
        await ThunderSource(shares, 100.0).fetch(make_query())
    assert caught.value.reason == "share_1_unavailable,share_0_partial"
    assert caught.value.output is not None
    assert np.asarray(caught.value.output["post_id"]).tolist() == [10]


async def test_without_any_share_nothing_comes_and_all_are_named(
    fake_method: Any, make_query: Any
) -> None:
    code = grpc.StatusCode
    shares = [fake_method(code.UNAVAILABLE), fake_method(code.DEADLINE_EXCEEDED)]
    with pytest.raises(Degraded) as caught:
        await ThunderSource(shares, 100.0).fetch(make_query())
    assert caught.value.reason == "share_0_unavailable,share_1_timeout"
    assert caught.value.output is None
