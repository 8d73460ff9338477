"""Deployment settings of phoenix: flags, PHOENIX__… variables, [phoenix] of a TOML file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from phoenix.config import Precision
from phoenix.index.search import IndexKind
from phoenix.serving.buckets import Shapes, check_ascending
from service_kit.settings import PORT_MAX, ServiceSettings


class PhoenixSettings(ServiceSettings):
    """Where the models are, what is compiled, how work is merged, how much is kept."""

    model_config = SettingsConfigDict(env_prefix="PHOENIX__")

    grpc_port: int = Field(50_053, ge=0, le=PORT_MAX, description="gRPC port; 0 picks a free one")
    ranker_checkpoints: Path | None = Field(
        None,
        description="directory of ranker versions; unset: DATA_DIR/checkpoints/ranker",
    )
    retrieval_checkpoints: Path | None = Field(
        None,
        description="directory of retrieval versions; unset: DATA_DIR/checkpoints/retrieval",
    )
    reload_poll_seconds: float = Field(
        1.0, gt=0, le=3600, description="how often the directories are looked at"
    )
    compilation_cache_dir: Path | None = Field(
        None, description="keeps compiled programs across restarts; unset: DATA_DIR/jax_cache"
    )
    candidate_buckets: tuple[int, ...] = Field(
        (64, 512, 1200), min_length=1, description="compiled candidate counts, ascending"
    )
    ranker_precision: Precision = Field(
        "checkpoint",
        description="type of the ranker's matrix products: float32, bfloat16, int8 (of the layers' "
        "weights, where kernels of our own run them; bfloat16 elsewhere, as on processors without "
        "AVX-512 VNNI), or checkpoint for what it was trained with",
    )
    merged_viewers: int = Field(
        8, ge=2, le=256, description="small requests that may share one call of the ranker"
    )
    merge_wait_ms: float = Field(
        2.0,
        ge=0,
        le=1000,
        description="how long a small request waits for the company that the last one had",
    )
    context_step_ms: int = Field(
        60_000,
        ge=1,
        le=3_600_000,
        description="history ages count from the request's time rounded up to this step",
    )
    context_cache_entries: int = Field(
        1024, ge=1, le=1_000_000, description="encoded viewers kept, of each model"
    )
    canary_interval_seconds: float = Field(
        10.0, ge=0, le=86_400, description="least time between two canary checks"
    )
    index_posts_max: int = Field(
        1_000_000, ge=1, le=100_000_000, description="posts the index may hold; the newest stay"
    )
    index_kind: IndexKind = Field(
        "int8",
        description="how retrieval searches, exactly but for the last: int8 codes scored again in "
        "float32, float32 rows (a fifth less memory, three times slower), device or "
        "device_approximate (JAX's device, an accelerator)",
    )
    index_retention_hours: float = Field(
        48.0, gt=0, le=24 * 3650, description="posts older than this are not answered"
    )
    age_out_interval_seconds: float = Field(
        5.0, gt=0, le=3600, description="how often old posts are looked for"
    )
    worker_id: int = Field(
        0, ge=0, le=1023, description="of this replica, in the prediction request ids it makes"
    )

    @field_validator("candidate_buckets")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        check_ascending("candidate_buckets", sizes)
        return sizes

    @property
    def ranker_dir(self) -> Path:
        """Where ranker versions appear."""
        return self.ranker_checkpoints or self.checkpoints_dir / "ranker"

    @property
    def retrieval_dir(self) -> Path:
        """Where retrieval versions appear."""
        return self.retrieval_checkpoints or self.checkpoints_dir / "retrieval"

    @property
    def compilation_dir(self) -> Path:
        """Where compiled programs are kept."""
        return self.compilation_cache_dir or self.data_dir / "jax_cache"

    @property
    def index_retention_ms(self) -> int:
        """Milliseconds of `index_retention_hours`."""
        return int(self.index_retention_hours * 3_600_000)

    @property
    def shapes(self) -> Shapes:
        """What is compiled."""
        return Shapes(self.candidate_buckets, self.merged_viewers)
