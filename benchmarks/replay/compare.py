"""What the stores say in the end against what the oracle says; every difference is listed.

thunder and the index are read over their wires, page by page, until they have nothing more to
say; the feature store through the very clients that home_mixer has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import grpc.aio
import numpy as np

from benchmarks.replay.oracle import SECONDARY_MAX, Light, Oracle, Row
from home_mixer.clients.protocols import FeatureClients
from protos import phoenix_pb2, phoenix_pb2_grpc, thunder_pb2, thunder_pb2_grpc

NOBODY = 1 << 40  # a viewer whom nobody reposts and who posts nothing
AUTHORS_AT_ONCE = 1_000
EXCLUDED_MAX = 10_000  # of a request to thunder
PAGE_MAX = 10_000
INDEX_PAGE = 5_000
INDEX_EXCLUDED_MAX = 100_000  # of a request to retrieval
IDS_AT_ONCE = 2_000
CALL_SECONDS = 60.0
MESSAGE_BYTES = 128 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
]
ROW_COLUMNS = Row._fields[2:]


class Difference(NamedTuple):
    """One thing that is not as it must be. ``subject``: a post, a viewer or a user."""

    store: str
    subject: int
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.store}: {self.subject}: expected {self.expected}, found {self.found}"


async def compare_thunder(
    name: str, addresses: Sequence[str], oracle: Oracle, viewers: Sequence[int]
) -> list[Difference]:
    """One replica of each share against the oracle: every author's posts, every viewer's answer
    in its order."""
    channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for address in addresses]
    try:
        stubs = [thunder_pb2_grpc.InNetworkPostsServiceStub(channel) for channel in channels]
        found = await _all_authors(name, stubs, oracle)
        lists = oracle.follows_by_user()
        for viewer_id in viewers:
            found += await _viewer(f"{name} viewer", stubs, oracle, viewer_id, lists[viewer_id])
        return found
    finally:
        for channel in channels:
            await channel.close()


async def _all_authors(name: str, stubs: Sequence[Any], oracle: Oracle) -> list[Difference]:
    differences: list[Difference] = []
    authors = sorted(oracle.by_author)
    for start in range(0, len(authors), AUTHORS_AT_ONCE):
        following = authors[start : start + AUTHORS_AT_ONCE]
        expected = set(oracle.in_network(NOBODY, following, capped=False))
        found: dict[int, Light] = {}
        for stub in stubs:
            found |= await _page_through(stub, following)
        differences += _sets(name, expected, set(found))
        for post_id in expected & found.keys():
            if found[post_id] != oracle.light(post_id):
                pair = (oracle.light(post_id), found[post_id])
                differences.append(Difference(name, post_id, *pair))
    return differences


async def _page_through(stub: Any, following: list[int]) -> dict[int, Light]:
    """Everything that these authors show, however many an answer holds."""
    found: dict[int, Light] = {}
    while True:
        request = thunder_pb2.GetInNetworkPostsRequest(
            user_id=NOBODY,
            following_user_ids=following,
            max_results=PAGE_MAX,
            exclude_post_ids=list(found),
        )
        page = await _in_network(stub, request)
        if not page or len(found) + len(page) > EXCLUDED_MAX:
            return found | {post.post_id: post for post in page}
        found |= {post.post_id: post for post in page}


async def _viewer(
    name: str, stubs: Sequence[Any], oracle: Oracle, viewer_id: int, following: list[int]
) -> list[Difference]:
    """What home_mixer would be told, in its order."""
    request = thunder_pb2.GetInNetworkPostsRequest(
        user_id=viewer_id, following_user_ids=following, max_results=PAGE_MAX
    )
    pages = [await _in_network(stub, request) for stub in stubs]
    found = _merged([post for page in pages for post in page])
    expected = oracle.in_network(viewer_id, following, capped=True, results_max=PAGE_MAX)
    return [] if found == expected else [Difference(name, viewer_id, expected[:5], found[:5])]


def _merged(posts: list[Light]) -> list[int]:
    """The shares' answers as one, newest first, with an author's cap on what several may tell."""
    posts.sort(key=lambda post: (post.created_at_ms, post.post_id), reverse=True)
    secondary: Counter[int] = Counter()
    kept: list[int] = []
    for post in posts:
        if post.parent_id or post.source_id:
            secondary[post.author_id] += 1
        if secondary[post.author_id] <= SECONDARY_MAX or not (post.parent_id or post.source_id):
            kept.append(post.post_id)
    return kept


async def _in_network(stub: Any, request: thunder_pb2.GetInNetworkPostsRequest) -> list[Light]:
    answer = await stub.GetInNetworkPosts(request, timeout=CALL_SECONDS)
    assert not answer.partial, "thunder ran out of time: the comparison needs whole answers"
    return [
        Light(
            post.post_id,
            post.author_id,
            post.created_at_ms,
            post.in_reply_to_post_id,
            post.in_reply_to_user_id,
            post.source_post_id,
            post.source_user_id,
            post.conversation_id,
            post.has_video,
        )
        for post in answer.posts
    ]


async def compare_index(name: str, address: str, oracle: Oracle) -> list[Difference]:
    """Everything that retrieval can answer, page by page."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = phoenix_pb2_grpc.RetrievalServiceStub(channel)
        found: set[int] = set()
        while True:
            request = phoenix_pb2.RetrieveRequest(
                request_id="replay", max_results=INDEX_PAGE, exclude_post_ids=list(found)
            )
            answer = await stub.Retrieve(request, timeout=CALL_SECONDS)
            found |= {post.post_id for post in answer.posts}
            if not answer.posts or len(found) > INDEX_EXCLUDED_MAX:
                break
    differences = _sets(name, oracle.indexed(), found)
    if answer.index_size != len(oracle.indexed()):
        size = (f"{len(oracle.indexed())} posts", f"{answer.index_size} posts")
        differences.append(Difference(f"{name} size", 0, *size))
    return differences


async def compare_features(name: str, clients: FeatureClients, oracle: Oracle) -> list[Difference]:
    """Every column of every post that an event named, its visibility, and every follow list."""
    differences: list[Difference] = []
    ids = oracle.post_ids()
    for start in range(0, len(ids), IDS_AT_ONCE):
        differences += await _rows(name, clients, oracle, ids[start : start + IDS_AT_ONCE])
    for user_id, expected in oracle.follows_by_user().items():
        features = await clients.graph.get_features(user_id)
        found = features.followed_user_ids.tolist()
        if found != expected:
            differences.append(Difference(f"{name} follows", user_id, expected[:5], found[:5]))
    return differences


async def _rows(
    name: str, clients: FeatureClients, oracle: Oracle, ids: list[int]
) -> list[Difference]:
    asked = np.array(ids, np.uint64)
    batch = await clients.posts.get_posts(asked)
    seen = await clients.visibility.get_visibility(asked)
    columns = [batch.found, batch.deleted, *(getattr(batch, column) for column in ROW_COLUMNS)]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    differences = []
    for at, values in enumerate(rows):
        expected, found = oracle.row(ids[at]), Row(*values)
        if expected != found:
            differences.append(Difference(name, ids[at], expected, found))
        visible = (bool(seen.found[at]), bool(seen.deleted[at]))
        if visible != expected[:2]:
            differences.append(Difference(f"{name} visibility", ids[at], expected[:2], visible))
    return differences


def _sets(name: str, expected: set[int], found: Iterable[int]) -> list[Difference]:
    held = set(found)
    missing = [Difference(name, post_id, "shown", "missing") for post_id in expected - held]
    return missing + [Difference(name, post_id, "hidden", "shown") for post_id in held - expected]
