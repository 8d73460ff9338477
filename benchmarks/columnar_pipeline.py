"""The feed's real components on in-memory clients: home_mixer's list without the wire.

Sources and the ranker answer with columns at once; everything else is home_mixer's own. A test
holds the list to that of `home_mixer.pipeline`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.feed_world import FeedWorld
from candidate_pipeline import CandidatePipeline, CandidateTable, FailurePolicy, Observer
from candidate_pipeline.components import Scorer, Source
from home_mixer.candidate_hydrators.author_information_hydrator import AuthorInformationHydrator
from home_mixer.candidate_hydrators.blocked_by_hydrator import BlockedByHydrator
from home_mixer.candidate_hydrators.core_data_hydrator import CoreDataHydrator
from home_mixer.candidate_hydrators.in_network_hydrator import InNetworkHydrator
from home_mixer.candidate_hydrators.mutual_follow_hydrator import MutualFollowHydrator
from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.candidate_hydrators.quoted_post_hydrator import QuotedPostHydrator
from home_mixer.candidate_hydrators.subscription_hydrator import SubscriptionHydrator
from home_mixer.candidate_hydrators.video_duration_hydrator import VideoDurationHydrator
from home_mixer.candidate_hydrators.visibility_hydrator import VisibilityHydrator
from home_mixer.clients.columns import profile_batch
from home_mixer.clients.protocols import Ids, ProfileBatch
from home_mixer.columns import (
    HEAD_COLUMNS,
    SCHEMA,
    SERVED_IN_NETWORK,
    SERVED_PHOENIX_RETRIEVAL,
)
from home_mixer.filters.age_filter import AgeFilter
from home_mixer.filters.author_socialgraph_filter import AuthorSocialgraphFilter
from home_mixer.filters.core_data_hydration_filter import CoreDataHydrationFilter
from home_mixer.filters.dedup_conversation_filter import DedupConversationFilter
from home_mixer.filters.drop_duplicates_filter import DropDuplicatesFilter
from home_mixer.filters.ineligible_subscription_filter import IneligibleSubscriptionFilter
from home_mixer.filters.muted_keyword_filter import MutedKeywordFilter
from home_mixer.filters.previously_seen_posts_filter import PreviouslySeenPostsFilter
from home_mixer.filters.previously_served_posts_filter import PreviouslyServedPostsFilter
from home_mixer.filters.repost_deduplication_filter import RepostDeduplicationFilter
from home_mixer.filters.selfpost_filter import SelfpostFilter
from home_mixer.filters.vf_filter import VFFilter
from home_mixer.id_sets import IdRows
from home_mixer.query import ScoredPostsQuery
from home_mixer.query_hydrators.served_history_query_hydrator import ServedHistoryQueryHydrator
from home_mixer.query_hydrators.user_action_sequence_query_hydrator import (
    UserActionSequenceQueryHydrator,
)
from home_mixer.query_hydrators.user_features_query_hydrator import UserFeaturesQueryHydrator
from home_mixer.scorers.author_diversity_scorer import AuthorDiversityScorer
from home_mixer.scorers.oon_scorer import OONScorer
from home_mixer.scorers.phoenix_scorer import PhoenixScorer as WirePhoenixScorer
from home_mixer.scorers.weighted_scorer import WeightedScorer
from home_mixer.selectors.top_k_score_selector import TopKScoreSelector
from home_mixer.sources.phoenix_source import PhoenixSource as WirePhoenixSource
from home_mixer.sources.thunder_source import ThunderSource as WireThunderSource

BUDGET_MS = 60_000.0  # nothing may time out while it is measured


class ThunderSource(Source[ScoredPostsQuery]):
    """Thunder's columns, from memory."""

    writes = WireThunderSource.writes
    budget_ms = BUDGET_MS

    def __init__(self, world: FeedWorld) -> None:
        posts = [(one, world.contents[one]) for one in world.thunder_ids]
        ids = np.uint64
        columns: dict[str, NDArray[Any]] = {
            "post_id": np.array([one for one, _ in posts], ids),
            "author_id": np.array([post.author_id for _, post in posts], ids),
            "created_at_ms": np.array([post.created_at_ms for _, post in posts], np.int64),
            "in_reply_to_post_id": np.array([post.in_reply_to_post_id for _, post in posts], ids),
            "in_reply_to_user_id": np.array([post.in_reply_to_user_id for _, post in posts], ids),
            "conversation_id": np.array([post.conversation_id for _, post in posts], ids),
            "reposted_post_id": np.array([post.reposted_post_id for _, post in posts], ids),
            "reposted_user_id": np.array([post.reposted_user_id for _, post in posts], ids),
        }
        columns["served_type"] = np.full(len(posts), SERVED_IN_NETWORK, np.int8)
        self._columns = columns

    async def fetch(self, query: ScoredPostsQuery) -> dict[str, NDArray[Any]]:
        return self._columns


class PhoenixSource(Source[ScoredPostsQuery]):
    """Retrieval's columns, from memory."""

    writes = WirePhoenixSource.writes
    budget_ms = BUDGET_MS

    def __init__(self, world: FeedWorld) -> None:
        authors = [world.contents[one].author_id for one in world.retrieval_ids]
        self._post_ids = np.array(world.retrieval_ids, np.uint64)
        self._author_ids = np.array(authors, np.uint64)

    async def fetch(self, query: ScoredPostsQuery) -> dict[str, NDArray[Any]]:
        served_type = np.full(len(self._post_ids), SERVED_PHOENIX_RETRIEVAL, np.int8)
        return {
            "post_id": self._post_ids,
            "author_id": self._author_ids,
            "served_type": served_type,
        }


class PhoenixScorer(Scorer[ScoredPostsQuery]):
    """The ranker's answer, from memory: every head of the original post."""

    reads = WirePhoenixScorer.reads
    writes = WirePhoenixScorer.writes
    optional_writes = WirePhoenixScorer.optional_writes
    budget_ms = BUDGET_MS

    def __init__(self, world: FeedWorld) -> None:
        self._rows = IdRows(world.predicted_ids)
        self._heads = world.heads  # a row a post, as a model's answer comes

    async def score(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, Any]:
        reposted = table["reposted_post_id"]
        originals = np.where(reposted != 0, reposted, table["post_id"])
        found, rows = self._rows.find(originals)
        heads = self._heads.take(rows, axis=0)
        if not found.all():
            heads[~found] = np.nan
        columns: dict[str, Any] = dict(zip(HEAD_COLUMNS, heads.T, strict=True))
        columns["last_scored_at_ms"] = np.full(len(table), query.now_ms, np.int64)
        columns["prediction_request_id"] = np.full(len(table), 1, np.uint64)
        return columns


class MemoryProfiles:
    """Profiles as columns: a store's answer, not the building of it, is what a feed waits for."""

    def __init__(self, world: FeedWorld) -> None:
        known = sorted(world.profiles)
        self._known = IdRows(np.array(known, np.uint64))
        self._rows = profile_batch([None, *(world.profiles[one] for one in known)])

    async def get_profiles(self, user_ids: Ids) -> ProfileBatch:
        """Rows [B]; row 0 stands for "not found"."""
        found, rows = self._known.find(user_ids)
        at = np.where(found, rows + 1, 0)
        names = ("found", "screen_name", "verified", "followers_count")
        return ProfileBatch(**{name: getattr(self._rows, name)[at] for name in names})


def columnar_pipeline(
    world: FeedWorld, observer: Observer | None = None
) -> CandidatePipeline[ScoredPostsQuery]:
    """The same order as `home_mixer.pipeline.build_pipeline`, without side effects."""
    store, ms, closed = world.store, BUDGET_MS, FailurePolicy.FAIL_CLOSED
    posts, profiles = SharedPostReads(store), MemoryProfiles(world)
    features = UserFeaturesQueryHydrator(store, ms, stale_ms=0, cached_viewers_max=1)
    return CandidatePipeline(
        schema=SCHEMA,
        id_column="post_id",
        preset_columns=("diversity", "oon"),
        query_type=ScoredPostsQuery,
        observer=observer or Observer(),
        budget_ms=BUDGET_MS,
        query_hydrators=[
            UserActionSequenceQueryHydrator(store, ms),
            features,
            ServedHistoryQueryHydrator(store, ms),
        ],
        sources=[ThunderSource(world), PhoenixSource(world)],
        hydrators=[
            InNetworkHydrator(),
            MutualFollowHydrator(store, ms),
            CoreDataHydrator(posts, ms),
            QuotedPostHydrator(store, ms),
            VideoDurationHydrator(posts, ms),
            SubscriptionHydrator(posts, ms, closed),
            AuthorInformationHydrator(profiles, ms, explained=True),
            BlockedByHydrator(store, ms, closed),
        ],
        filters=[
            DropDuplicatesFilter(),
            CoreDataHydrationFilter(),
            AgeFilter(),
            SelfpostFilter(),
            RepostDeduplicationFilter(),
            IneligibleSubscriptionFilter(),
            PreviouslySeenPostsFilter(),
            PreviouslyServedPostsFilter(),
            MutedKeywordFilter(),
            AuthorSocialgraphFilter(),
        ],
        scorers=[PhoenixScorer(world), WeightedScorer(), AuthorDiversityScorer(), OONScorer()],
        selector=TopKScoreSelector(),
        late_hydrators=[VisibilityHydrator(store, ms), AuthorInformationHydrator(profiles, ms)],
        late_filters=[VFFilter(), DedupConversationFilter()],
        result_size=lambda query: query.params.result_size,
    )
