"""Opens the feature stores that a deployment runs on: Redis where REDIS_URL is set, else LMDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from home_mixer.clients.embedded import EmbeddedFeatureStore, EmbeddedFeatureWriter
from home_mixer.clients.protocols import FeatureClients
from home_mixer.clients.redis.rows import HOUR_MS, Retention
from home_mixer.clients.redis.store import RedisFeatureStore
from home_mixer.clients.redis.users import DAY_MS
from home_mixer.clients.redis.writer import RedisFeatureWriter
from home_mixer.clients.writes import FeatureWriter
from home_mixer.settings import HomeMixerSettings, IngesterSettings
from service_kit.clock import Clock, SystemClock
from service_kit.metrics import Metrics

ANSWER_SHARE = 0.9  # of a store's budget: its own error comes before the feed gives it up


class StoreWriter(FeatureWriter, Protocol):
    """What the ingester needs of a store beside writing to it."""

    def check(self) -> None:
        """`StoreLostError` where the store has lost what it had acknowledged."""

    def filled(self, share: tuple[int, int]) -> bool:
        """Share (i, n) has caught up with its log; true once readers are let in."""

    def warnings(self) -> list[str]:
        """What the operator should change about the store's server."""

    def size_bytes(self) -> int:
        """Bytes in use."""

    def close(self) -> None:
        """Waits for the call under way and lets go of the store."""


@dataclass(frozen=True, slots=True)
class OpenFeatureStore:
    """The clients of one process; closed with `close`."""

    clients: FeatureClients
    _store: RedisFeatureStore | EmbeddedFeatureStore

    async def close(self) -> None:
        """Waits for reads under way."""
        if isinstance(self._store, RedisFeatureStore):
            await self._store.close()
        else:
            self._store.close()


async def open_feature_clients(
    settings: HomeMixerSettings, *, metrics: Metrics | None = None, clock: Clock | None = None
) -> OpenFeatureStore:
    """home_mixer's stores. `StoreError` for a directory that cannot be used; Redis may be away."""
    store: RedisFeatureStore | EmbeddedFeatureStore
    if settings.redis_url:
        store = RedisFeatureStore(
            settings.redis_url,
            key_prefix=settings.redis_key_prefix,
            timeout_s=settings.store_budget_ms * ANSWER_SHARE / 1_000,
            connections_max=settings.redis_connections_max,
            cached_posts_max=settings.cached_posts_max,
            user_days=settings.redis_user_days,
            clock=clock or SystemClock(),
            metrics=metrics or Metrics("home_mixer"),
        )
    else:
        store = EmbeddedFeatureStore(
            settings.features_dir,
            map_bytes=settings.feature_map_bytes,
            threads=settings.feature_threads,
        )
    return OpenFeatureStore(store.clients(), store)


def open_feature_writer(settings: IngesterSettings, clock: Clock | None = None) -> StoreWriter:
    """The ingester's store. `StoreError` for a directory that cannot be used; Redis may be away."""
    if not settings.redis_url:
        return EmbeddedFeatureWriter.open(
            settings.features_dir, map_bytes=settings.feature_map_bytes
        )
    retention = Retention(
        posts_ms=settings.post_retention_hours * HOUR_MS,
        users_ms=settings.redis_user_days * DAY_MS,
        now_ms=(clock or SystemClock()).now_ms,
    )
    return RedisFeatureWriter(
        settings.redis_url, key_prefix=settings.redis_key_prefix, retention=retention
    )
