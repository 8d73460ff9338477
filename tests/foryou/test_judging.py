"""Every order is judged on the same candidates: those that a feed may hold."""

from __future__ import annotations

import numpy as np

from foryou.judging import judged
from foryou.world import World
from home_mixer.params import load_params
from protos import home_mixer_pb2 as pb

FATES = ("not_selected", "removed", "served", "removed_late", "truncated", "served")


def test_removed_candidates_are_nobodys_and_served_posts_come_first(world: World):
    post_ids = world.posts.ids[: len(FATES)]
    answer = pb.ExplainResponse(
        candidates=[
            pb.CandidateFate(post_id=post, fate=fate, position=9 - row, score=float(row))
            for row, (post, fate) in enumerate(zip(post_ids.tolist(), FATES, strict=True))
        ]
    )
    popular = np.arange(len(world.posts.ids), dtype=float)
    viewer = judged(world, int(world.accounts.ids[0]), answer, popular, load_params())
    assert viewer.popularity.tolist() == [0, 2, 4, 5]
    assert viewer.newest.tolist() == world.posts.created_ms[[0, 2, 4, 5]].tolist()
    assert np.argsort(-viewer.ours).tolist() == [3, 1, 2, 0]  # by position, then by score
