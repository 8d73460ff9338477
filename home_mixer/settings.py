"""Deployment settings of home_mixer and of its ingester: flags, environment, file, defaults."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from home_mixer.clients.circuit_breaker import BreakerLimits
from home_mixer.clients.grpc_target import target_of
from home_mixer.clients.lmdb_directory import MAP_BYTES_DEFAULT
from service_kit.ranking_weights import DEFAULT_TABLE
from service_kit.settings import PORT_MAX, ServiceSettings

MAP_BYTES_MIN, MAP_BYTES_MAX = 1 << 20, 1 << 44
FEEDS_AT_ONCE = 32  # at 30 ms of one core each, more could not all be answered within a second
THUNDER_ADDRESS = r"^[^\s;]+:[^\s;]+(;[^\s;]+:[^\s;]+)*$"
ADDRESS = r"^\S+:\S+$"  # host:port, or a gRPC target such as dns:///host:port or unix:path
REDIS_URL = r"^$|^rediss?(\+cluster)?://\S+$"
FEATURE_MAP_DOC = "largest size of each feature map; the file grows with the data, not to this size"


class FeatureStoreSettings(ServiceSettings):
    """Where the feature stores are: a directory of this machine, or Redis."""

    feature_map_bytes: int = Field(
        MAP_BYTES_DEFAULT, ge=MAP_BYTES_MIN, le=MAP_BYTES_MAX, description=FEATURE_MAP_DOC
    )
    redis_url: str = Field(
        "",
        pattern=REDIS_URL,
        description="redis://, rediss:// or redis+cluster://host:port of the feature stores; "
        "empty: the stores in DATA_DIR; also REDIS_URL",
    )
    redis_key_prefix: str = Field(
        "foryou",
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="first part of every key; one per deployment that shares a Redis",
    )
    redis_user_days: int = Field(
        365,
        ge=1,
        le=3650,
        description="how long blocks, follows and profiles of a user who stays away are kept",
    )


class HomeMixerSettings(FeatureStoreSettings):
    """Everything that a deployment decides about home_mixer; ranking has its own parameters."""

    model_config = SettingsConfigDict(env_prefix="HOME_MIXER__")

    grpc_port: int = Field(50051, ge=0, le=PORT_MAX, description="gRPC port; 0 picks a free one")
    thunder_address: str = Field(
        "127.0.0.1:50052",
        pattern=THUNDER_ADDRESS,
        description="host:port of thunder, or of its replicas, separated by ','; several shares "
        "of its authors: one each, in their order, separated by ';'",
    )
    phoenix_address: str = Field(
        "127.0.0.1:50053",
        pattern=ADDRESS,
        description="host:port of the ranker, or of its replicas, separated by ','",
    )
    retrieval_address: str = Field(
        "",
        pattern=f"^$|{ADDRESS}",
        description="host:port of retrieval where it is not the ranker's; empty: the same",
    )
    request_budget_ms: float = Field(
        1_000.0, ge=10, le=60_000, description="longest time for one feed; a nearer deadline wins"
    )
    late_reserve_ms: float = Field(
        100.0,
        ge=0,
        le=1_000,
        description="part of a request's time kept for its safety checks; a third of it at most",
    )
    thunder_budget_ms: float = Field(400.0, ge=1, le=60_000, description="for one call of thunder")
    retrieval_budget_ms: float = Field(500.0, ge=1, le=60_000, description="for one retrieval")
    ranker_budget_ms: float = Field(800.0, ge=1, le=60_000, description="for scoring one feed")
    store_budget_ms: float = Field(400.0, ge=1, le=60_000, description="for one store's answer")
    max_concurrent_requests: int = Field(
        FEEDS_AT_ONCE, ge=1, le=10_000, description="feeds at once before RESOURCE_EXHAUSTED"
    )
    feature_threads: int = Field(
        4, ge=1, le=64, description="threads that read the feature stores in DATA_DIR"
    )
    redis_connections_max: int = Field(
        64, ge=1, le=10_000, description="calls of Redis at once; on a cluster of every node"
    )
    cached_posts_max: int = Field(
        100_000, ge=0, le=100_000_000, description="contents of posts kept in memory, with Redis"
    )
    params: str = Field(
        DEFAULT_TABLE, description="name of a parameter table, or a .json or .toml file"
    )
    params_reload_seconds: float = Field(
        5.0, ge=0.1, le=3600, description="how often a parameter file is looked at"
    )
    user_features_stale_seconds: int = Field(
        600, ge=0, le=86_400, description="how old last known blocks and mutes may be in an outage"
    )
    user_features_fail_closed: bool = Field(
        True, description="no candidates for a viewer whose blocks, mutes or paywalls are unknown"
    )
    user_features_cache_viewers: int = Field(
        10_000, ge=0, le=10_000_000, description="viewers whose last known lists are kept for that"
    )
    served_features_every: int = Field(
        100,
        ge=0,
        le=1_000_000,
        description="of one feed in so many the served event holds what the ranker was given, for "
        "foryou eval skew; 1: of all, 0: of none",
    )
    visibility_stale_seconds: int = Field(
        60, ge=0, le=86_400, description="how old last known safety labels may be in an outage"
    )
    breaker_window_seconds: float = Field(
        5.0, ge=0.1, le=300, description="over which a dependency's failures are counted"
    )
    breaker_failure_share: float = Field(
        0.5, gt=0, le=1, description="of failed calls at which a dependency is left alone"
    )
    breaker_calls_min: int = Field(
        10, ge=1, le=10_000, description="calls in the window below which failures prove nothing"
    )
    breaker_failures_in_a_row: int = Field(
        5, ge=1, le=10_000, description="failed calls in a row at which it is left alone as well"
    )
    breaker_open_seconds: float = Field(
        1.0, ge=0.05, le=300, description="before a dependency that was left alone is asked again"
    )
    breaker_probes: int = Field(
        2, ge=1, le=100, description="good answers in a row after which it counts as back"
    )

    @field_validator("thunder_address", "phoenix_address", "retrieval_address")
    @classmethod
    def _targets(cls, addresses: str) -> str:
        for address in addresses.split(";"):
            target_of(address)
        return addresses

    @property
    def thunder_targets(self) -> tuple[str, ...]:
        """Where each share of thunder's authors is asked."""
        return tuple(self.thunder_address.split(";"))

    @property
    def retrieval_target(self) -> str:
        """Where retrieval is called."""
        return self.retrieval_address or self.phoenix_address

    @property
    def breaker_limits(self) -> BreakerLimits:
        """When a dependency is left alone, and when it is asked again."""
        return BreakerLimits(
            window_seconds=self.breaker_window_seconds,
            failure_share=self.breaker_failure_share,
            calls_min=self.breaker_calls_min,
            failures_in_a_row=self.breaker_failures_in_a_row,
            open_seconds=self.breaker_open_seconds,
            probes=self.breaker_probes,
        )


class IngesterSettings(FeatureStoreSettings):
    """The process that fills the feature stores from the event topics."""

    model_config = SettingsConfigDict(env_prefix="INGESTER__")

    batch_records: int = Field(20_000, ge=1, le=1_000_000, description="events a transaction")
    share: str = Field(
        "0/1",
        pattern=r"^\d{1,4}/[1-9]\d{0,3}$",
        description="i/n: of n ingesters the i-th, from 0; it reads partitions p with p % n == i",
    )
    flush_interval_ms: float = Field(
        20.0, ge=0, le=10_000, description="how long a new event may wait for company"
    )
    post_retention_hours: int = Field(
        168, ge=1, le=24 * 365, description="how long posts are kept; reposts quote older ones"
    )
    trim_interval_seconds: float = Field(60.0, ge=1, le=86_400, description="between two trimmings")
    trim_posts_max: int = Field(10_000, ge=1, le=1_000_000, description="posts a trimming's batch")

    @property
    def share_of_partitions(self) -> tuple[int, int]:
        """(i, n) of ``share``."""
        number, shares = self.share.split("/")
        return int(number), int(shares)

    @model_validator(mode="after")
    def _share_exists(self) -> Self:
        number, shares = self.share_of_partitions
        if number >= shares:
            raise ValueError(f"share {self.share}: the first number is 0 to {shares - 1}")
        return self
