"""The feed's wiring: every component once, in the order in which it runs.

The order is the original's (x-algorithm, README of January 2026; sources as since October:
thunder first). Cheap filters come before those that read texts. What may fail says how:

| component | when it fails |
|---|---|
| user features | last known lists while fresh enough, then no candidates (fails closed) |
| sources, profiles, scorer | go on without, and say so |
| core data, video, subscription, quoted | what was read before; else unknown, and closed |
| blocked-by | last known while fresh enough, else blocked (fails closed) |
| visibility | last known while fresh enough; VFFilter drops what is unknown |

``docs/degradation.md`` says what a viewer gets while a service is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from candidate_pipeline.components import FailurePolicy
from candidate_pipeline.observer import Observer
from candidate_pipeline.pipeline import CandidatePipeline
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
from home_mixer.clients.phoenix_messages import Predict, Retrieve, SequenceMessages
from home_mixer.clients.protocols import FeatureClients
from home_mixer.clients.thunder_answers import GetInNetworkPosts
from home_mixer.columns import SCHEMA
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
from home_mixer.query import ScoredPostsQuery
from home_mixer.query_hydrators.served_history_query_hydrator import ServedHistoryQueryHydrator
from home_mixer.query_hydrators.user_action_sequence_query_hydrator import (
    UserActionSequenceQueryHydrator,
)
from home_mixer.query_hydrators.user_features_query_hydrator import UserFeaturesQueryHydrator
from home_mixer.scorers.author_diversity_scorer import AuthorDiversityScorer
from home_mixer.scorers.oon_scorer import OONScorer
from home_mixer.scorers.phoenix_scorer import PhoenixScorer
from home_mixer.scorers.weighted_scorer import WeightedScorer
from home_mixer.selectors.top_k_score_selector import TopKScoreSelector
from home_mixer.settings import HomeMixerSettings
from home_mixer.side_effects.request_info_cache_side_effect import RequestInfoCacheSideEffect
from home_mixer.side_effects.served_candidates_event_side_effect import (
    ServedCandidatesEventSideEffect,
)
from home_mixer.side_effects.served_history_side_effect import ServedHistorySideEffect
from home_mixer.sources.phoenix_source import PhoenixSource
from home_mixer.sources.thunder_source import ThunderSource
from service_kit.clock import Clock
from service_kit.event_log import EventSink

SIDE_EFFECT_BUDGET_MS = 5_000.0  # may wait behind another process's write; nobody waits for it


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What the components talk to."""

    clients: FeatureClients
    thunder: Sequence[GetInNetworkPosts]  # one a share of thunder's authors
    retrieve: Retrieve
    predict: Predict
    events: EventSink
    clock: Clock


def build_pipeline(
    settings: HomeMixerSettings, to: Collaborators, observer: Observer
) -> tuple[CandidatePipeline[ScoredPostsQuery], PhoenixScorer]:
    """The pipeline, and the scorer that can name the model behind a prediction."""
    clients, store_ms = to.clients, settings.store_budget_ms
    fail_closed = settings.user_features_fail_closed
    features_stale_ms = settings.user_features_stale_seconds * 1000
    closed = FailurePolicy.FAIL_CLOSED if fail_closed else FailurePolicy.SKIP
    posts = SharedPostReads(clients.posts)
    sequences = SequenceMessages()
    scorer = PhoenixScorer(to.predict, settings.ranker_budget_ms, to.clock, sequences)
    pipeline = CandidatePipeline(
        name="ScoredPosts",
        schema=SCHEMA,
        id_column="post_id",
        source_column="sources",
        preset_columns=("diversity", "oon"),
        query_type=ScoredPostsQuery,
        observer=observer,
        budget_ms=settings.request_budget_ms,
        late_reserve_ms=settings.late_reserve_ms,
        query_hydrators=[
            UserActionSequenceQueryHydrator(clients.actions, store_ms),
            UserFeaturesQueryHydrator(
                clients.graph,
                store_ms,
                stale_ms=features_stale_ms,
                cached_viewers_max=settings.user_features_cache_viewers,
            ),
            ServedHistoryQueryHydrator(clients.served, store_ms),
        ],
        sources=[
            ThunderSource(to.thunder, settings.thunder_budget_ms, fail_closed=fail_closed),
            PhoenixSource(
                to.retrieve, settings.retrieval_budget_ms, sequences, fail_closed=fail_closed
            ),
        ],
        hydrators=[
            InNetworkHydrator(),
            MutualFollowHydrator(clients.graph, store_ms),
            CoreDataHydrator(posts, store_ms),
            QuotedPostHydrator(clients.posts, store_ms, closed),
            VideoDurationHydrator(posts, store_ms),
            SubscriptionHydrator(posts, store_ms, closed),
            AuthorInformationHydrator(clients.profiles, store_ms, explained=True),
            BlockedByHydrator(clients.graph, store_ms, closed, stale_ms=features_stale_ms),
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
        scorers=[scorer, WeightedScorer(), AuthorDiversityScorer(), OONScorer()],
        selector=TopKScoreSelector(),
        late_hydrators=[
            VisibilityHydrator(
                clients.visibility, store_ms, stale_ms=settings.visibility_stale_seconds * 1000
            ),
            AuthorInformationHydrator(clients.profiles, store_ms),
        ],
        late_filters=[VFFilter(), DedupConversationFilter()],
        result_size=lambda query: query.params.result_size,
        side_effects=[
            RequestInfoCacheSideEffect(clients.requests, SIDE_EFFECT_BUDGET_MS),
            ServedHistorySideEffect(clients.served, SIDE_EFFECT_BUDGET_MS),
            ServedCandidatesEventSideEffect(
                to.events, scorer, SIDE_EFFECT_BUDGET_MS, settings.served_features_every
            ),
        ],
    )
    return pipeline, scorer
