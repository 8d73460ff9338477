"""Deployment settings of thunder: flags, ``THUNDER__…`` variables, or ``[thunder]`` in a file."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from service_kit.settings import PORT_MAX, ServiceSettings


class ThunderSettings(ServiceSettings):
    """About 130 bytes of memory a post: the default of five million takes some 650 MB when full."""

    model_config = SettingsConfigDict(env_prefix="THUNDER__")

    grpc_port: int = Field(50052, ge=0, le=PORT_MAX, description="gRPC port; 0 picks a free one")
    posts_max: int = Field(
        5_000_000, ge=1, le=500_000_000, description="posts kept; beyond it the oldest leave"
    )
    retention_seconds: int = Field(
        172_800, ge=1, le=2_592_000, description="how long a post is served (two days)"
    )
    future_tolerance_seconds: int = Field(
        60, ge=0, le=86_400, description="posts dated further ahead are refused"
    )
    request_timeout_ms: int = Field(
        1_000, ge=1, le=60_000, description="longest a query may take, whatever its own deadline"
    )
    max_concurrent_requests: int = Field(
        64, ge=1, le=10_000, description="queries at once before RESOURCE_EXHAUSTED"
    )
    query_threads: int = Field(4, ge=1, le=256, description="threads that run queries")
    batch_records: int = Field(
        5_000, ge=1, le=100_000, description="events applied at once at most"
    )
    flush_interval_ms: int = Field(
        20, ge=1, le=10_000, description="longest an event waits for a fuller batch"
    )
    trim_interval_seconds: float = Field(
        120.0, gt=0, le=3_600, description="how often posts beyond the retention are removed"
    )
