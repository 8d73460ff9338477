"""How long a video is decides whether watching it counts."""

from __future__ import annotations

from typing import Any

from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.candidate_hydrators.video_duration_hydrator import VideoDurationHydrator
from home_mixer.clients.writes import FeatureBatch, PostContent


async def test_length_of_the_first_video_or_none(
    store: Any, make_query: Any, make_table: Any
) -> None:
    contents = [
        (1, PostContent(9, 1, video_duration_ms=2**32 - 1, has_media=True)),
        (2, PostContent(9, 1, has_media=True)),
    ]
    store.apply(FeatureBatch(contents=contents), {})
    hydrator = VideoDurationHydrator(SharedPostReads(store), 100.0)
    table = make_table({"post_id": 1}, {"post_id": 2}, {"post_id": 404})
    columns = await hydrator.hydrate(make_query(), table)
    assert columns["video_duration_ms"].tolist() == [2**32 - 1, 0, 0]
