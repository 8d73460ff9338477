"""Follows, blocks, mutes, subscriptions and muted keywords of the viewer.

These keep a promise to the viewer, so an outage does not silently drop them. The last known lists
serve for ``stale_ms``, with their age in the query and "stale" among the degraded reasons. Beyond
that ``user_features_age_ms`` stays −1, and the sources bring nothing while the deployment fails
closed (``HOME_MIXER__USER_FEATURES_FAIL_CLOSED``). Deviation: the original fails open.
"""

from __future__ import annotations

from collections import OrderedDict

from candidate_pipeline.components import FailurePolicy, QueryHydrator
from candidate_pipeline.errors import Degraded
from home_mixer.clients.protocols import SocialGraphStore, UserFeatures
from home_mixer.last_known import REASON_STALE
from home_mixer.query import ScoredPostsQuery, no_ids

FEATURES_UNKNOWN = -1  # user_features_age_ms
NO_FEATURES = UserFeatures(no_ids(), no_ids(), no_ids(), no_ids(), ())


class UserFeaturesQueryHydrator(QueryHydrator[ScoredPostsQuery]):
    writes = frozenset(
        {
            "followed_user_ids",
            "blocked_user_ids",
            "muted_user_ids",
            "subscribed_user_ids",
            "muted_keywords",
            "user_features_age_ms",
        }
    )

    on_failure = FailurePolicy.FAIL_CLOSED

    def __init__(
        self, store: SocialGraphStore, budget_ms: float, *, stale_ms: int, cached_viewers_max: int
    ) -> None:
        self._store = store
        self.budget_ms = budget_ms
        self._stale_ms = stale_ms
        self._cached_viewers_max = cached_viewers_max
        self._last_known: OrderedDict[int, tuple[int, UserFeatures]] = OrderedDict()

    async def hydrate(self, query: ScoredPostsQuery) -> dict[str, object]:
        features = await self._store.get_features(query.viewer_id)
        self._remember(query, features)
        return _fields(features, age_ms=0)

    def fail_closed(self, query: ScoredPostsQuery) -> dict[str, object]:
        """The last known lists, raised as Degraded("stale"); else none, of unknown age."""
        stale = self._stale(query)
        if stale is not None:
            raise Degraded(REASON_STALE, stale)
        return _fields(NO_FEATURES, age_ms=FEATURES_UNKNOWN)

    def _remember(self, query: ScoredPostsQuery, features: UserFeatures) -> None:
        if self._cached_viewers_max == 0:
            return
        self._last_known[query.viewer_id] = (query.now_ms, features)
        self._last_known.move_to_end(query.viewer_id)
        if len(self._last_known) > self._cached_viewers_max:
            self._last_known.popitem(last=False)

    def _stale(self, query: ScoredPostsQuery) -> dict[str, object] | None:
        read_at_ms, features = self._last_known.get(query.viewer_id, (0, None))
        age_ms = query.now_ms - read_at_ms
        if features is None or age_ms > self._stale_ms:
            return None
        return _fields(features, age_ms=max(age_ms, 0))


def _fields(features: UserFeatures, age_ms: int) -> dict[str, object]:
    return {
        "followed_user_ids": features.followed_user_ids,
        "blocked_user_ids": features.blocked_user_ids,
        "muted_user_ids": features.muted_user_ids,
        "subscribed_user_ids": features.subscribed_user_ids,
        "muted_keywords": features.muted_keywords,
        "user_features_age_ms": age_ms,
    }
