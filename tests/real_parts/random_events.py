"""Random events of every kind for the ingester, and all that a reader can see of their effect."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from home_mixer.clients.protocols import FeatureClients
from protos import events_pb2
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_GRAPH, TOPIC_POSTS

FEW = range(1, 6)
Event = tuple[str, int, bytes]  # topic, key id, value


def random_event(random_: random.Random, ids: Sequence[int] = FEW) -> Event:
    """An event with few ids and times, so that many collide."""
    pb = events_pb2
    post_id, user_id, other = (random_.choice(ids) for _ in range(3))
    at_ms = random_.randrange(1, 5)
    flag = random_.random() < 0.5
    graph = random_.randrange(3)
    kind = random_.choice(("create", "delete", "undelete", "labels", "card", "action", "graph"))
    if kind == "action":
        action = pb.ActionEvent(
            user_id=user_id,
            post_id=post_id,
            author_id=other,
            action=1 + at_ms,
            acted_at_ms=at_ms,
            seconds=at_ms,
        )
        return TOPIC_ACTIONS, user_id, action.SerializeToString()
    if kind == "graph":
        event = [
            pb.GraphEvent(
                edge=pb.GraphEdge(
                    kind=1 + at_ms % 4,
                    user_id=user_id,
                    target_user_id=other,
                    removed=flag,
                    changed_at_ms=at_ms,
                )
            ),
            pb.GraphEvent(
                muted_keyword=pb.MutedKeyword(
                    user_id=user_id, keyword=f"w{other}", removed=flag, changed_at_ms=at_ms
                )
            ),
            pb.GraphEvent(
                profile=pb.UserProfile(
                    user_id=user_id, screen_name=f"n{other}", verified=flag, changed_at_ms=at_ms
                )
            ),
        ][graph]
        return TOPIC_GRAPH, user_id, event.SerializeToString()
    posts = {
        "create": pb.PostEvent(
            create=pb.PostCreate(
                post_id=post_id, author_id=other, created_at_ms=at_ms, quoted_post_id=9, text="t"
            )
        ),
        "delete": pb.PostEvent(delete=pb.PostDelete(post_id=post_id, deleted_at_ms=at_ms)),
        "undelete": pb.PostEvent(undelete=pb.PostUndelete(post_id=post_id, undeleted_at_ms=at_ms)),
        "labels": pb.PostEvent(
            labels=pb.PostLabels(post_id=post_id, labels=[other], labelled_at_ms=at_ms)
        ),
        "card": pb.PostEvent(quoted_post_delete=pb.QuotedPostDelete(quoting_post_id=post_id)),
    }
    return TOPIC_POSTS, other, posts[kind].SerializeToString()


async def view(clients: FeatureClients, ids: Sequence[int] = FEW) -> list[Any]:
    """All that a reader can see of these posts and users."""
    everyone = np.array(ids, np.uint64)
    seen: list[Any] = []
    batches: list[Any] = [
        await clients.posts.get_posts(everyone),
        await clients.profiles.get_profiles(everyone),
    ]
    for user in ids:
        batches.append(await clients.actions.newest_actions(user, 100))
        features = await clients.graph.get_features(user)
        seen.append([np.asarray(getattr(features, n)).tolist() for n in type(features).__slots__])
    columns = ([getattr(batch, n).tolist() for n in type(batch).__slots__] for batch in batches)
    return [*seen, *columns]
