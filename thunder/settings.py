"""Deployment settings of thunder: flags, ``THUNDER__…`` variables, or ``[thunder]`` in a file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from service_kit.settings import PORT_MAX, ServiceSettings
from thunder.shares import PATTERN, Share


class ThunderSettings(ServiceSettings):
    """About 130 bytes of memory a post: the default of five million takes some 650 MB when full."""

    model_config = SettingsConfigDict(env_prefix="THUNDER__")

    grpc_port: int = Field(50052, ge=0, le=PORT_MAX, description="gRPC port; 0 picks a free one")
    mode: Literal["standalone", "feeder", "serving"] = Field(
        "standalone",
        description="standalone: posts topic to answers; feeder: posts topic to the compact "
        "in-network topic; serving: in-network topic to answers",
    )
    share: str = Field(
        "0/1",
        pattern=PATTERN,
        description="i/n: keep share i (from 0) of the authors in n shares; serving mode only",
    )
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
    snapshot_interval_seconds: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="how often a snapshot is written to DATA_DIR/snapshots; 0 is off",
    )

    snapshot_in_place: bool = Field(
        False,
        description="write snapshots straight from the store: inserts wait until the disk has "
        "taken all, and no memory for a copy of the store is needed meanwhile",
    )

    @model_validator(mode="after")
    def _check_share(self) -> Self:
        if Share.parse(self.share).count > 1 and self.mode != "serving":
            raise ValueError(
                f"share {self.share} in {self.mode} mode: only --mode serving keeps a share"
            )
        return self
