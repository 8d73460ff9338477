"""Deployment settings: flags win over the environment, over a TOML file, over the defaults.

A service subclasses ``ServiceSettings`` with its ``env_prefix`` ("THUNDER__"); the TOML file's
table has the prefix's name in lower case (``[thunder]``), so that one file may serve them all.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

EXIT_USAGE = 2  # what a shell expects of a command that was called wrongly
MESSAGE_BYTES_MAX = 128 << 20  # the original's limit for one gRPC message
PORT_MAX = 65_535
FLUSH_SHARE = 0.25  # side effects and commits take milliseconds; calls up to a second
# Names that the field's other tools read too: settings without a service's prefix.
STANDARD_VARIABLES = {
    "kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "redis_url": "REDIS_URL",
}


class SettingsError(ValueError):
    """Settings that cannot be used; the message names each, what came and what was expected."""


class TomlTable(PydanticBaseSettingsSource):
    """The service's table of the file that ``config_file`` names, by flag or environment."""

    def __init__(self, settings_cls: type[BaseSettings], flags: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        prefix = str(self.config.get("env_prefix", ""))
        self._path = flags.get("config_file") or os.environ.get(f"{prefix}CONFIG_FILE")
        self._table = prefix.lower().rstrip("_")

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # the whole table is read at once, below

    def __call__(self) -> dict[str, Any]:
        if not self._path:
            return {}
        try:
            document = tomllib.loads(Path(self._path).read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(f"config_file {self._path}: cannot be read: {error}") from error
        table = document.get(self._table)
        if not isinstance(table, dict):
            found = ", ".join(document) or "nothing"
            raise SettingsError(
                f"config_file {self._path}: expected a table [{self._table}], which may be empty; "
                f"found {found}"
            )
        return table


class StandardEnvironment(PydanticBaseSettingsSource):
    """``STANDARD_VARIABLES`` of the environment; a variable with the service's prefix wins."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # all are read at once, below

    def __call__(self) -> dict[str, Any]:
        return {
            field: os.environ[variable]
            for field, variable in STANDARD_VARIABLES.items()
            if field in self.settings_cls.model_fields and variable in os.environ
        }


class ServiceSettings(BaseSettings):
    """What every service has. A service's own class adds fields with a description and bounds."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, validate_default=True)

    config_file: Path | None = Field(None, description="TOML file with a table for this service")
    grpc_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    grpc_port: int = Field(0, ge=0, le=PORT_MAX, description="gRPC port; 0 picks a free one")
    metrics_port: int = Field(
        0, ge=-1, le=PORT_MAX, description="HTTP port of /metrics; 0 picks a free one, -1 is off"
    )
    drain_seconds: float = Field(
        10.0, ge=1, le=600, description="longest time from SIGTERM to the end, all included"
    )
    lame_duck_seconds: float = Field(
        0.5,
        ge=0,
        le=300,
        description="part of it: NOT_SERVING, yet still answering, until clients have looked away",
    )
    connection_seconds_max: int = Field(
        300,
        ge=1,
        le=86_400,
        description="clients connect again after this long, and so find replicas that were added",
    )
    max_message_bytes: int = Field(
        MESSAGE_BYTES_MAX, ge=1024, le=MESSAGE_BYTES_MAX, description="largest gRPC message"
    )
    max_concurrent_rpcs: int = Field(
        1024, ge=1, le=100_000, description="calls at once before RESOURCE_EXHAUSTED"
    )
    response_compression: Literal["none", "gzip"] = Field(
        "none", description="compression of answers; requests may always come in gzip"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least serious level that is logged"
    )
    data_dir: Path = Field(Path(".foryou"), description="directory that the processes share")
    kafka_bootstrap_servers: str = Field(
        "",
        description="host:port of Kafka brokers, comma-separated; empty: the log in DATA_DIR; "
        "also KAFKA_BOOTSTRAP_SERVERS",
    )
    kafka_topic_prefix: str = Field(
        "", pattern=r"^[a-zA-Z0-9._-]{0,100}$", description="put before every topic's name in Kafka"
    )

    @property
    def flush_seconds(self) -> float:
        """The part of ``drain_seconds`` that running calls leave to what must be flushed."""
        return self.drain_seconds * FLUSH_SHARE

    @property
    def log_dir(self) -> Path:
        """The embedded event log."""
        return self.data_dir / "log"

    @property
    def features_dir(self) -> Path:
        """home_mixer's embedded feature stores."""
        return self.data_dir / "features"

    @property
    def checkpoints_dir(self) -> Path:
        """Trained models: ``ranker`` and ``retrieval`` below it."""
        return self.data_dir / "checkpoints"

    @property
    def snapshots_dir(self) -> Path:
        """thunder's snapshots."""
        return self.data_dir / "snapshots"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        table = TomlTable(settings_cls, init_settings())
        return init_settings, env_settings, StandardEnvironment(settings_cls), table

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Reads all sources; flags that are None count as not given. Raises SettingsError."""
        cls._check_environment(os.environ)
        try:
            return cls(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(cls._explain(error)) from error

    @classmethod
    def _check_environment(cls, environment: Mapping[str, str]) -> None:
        prefix = str(cls.model_config.get("env_prefix", ""))
        known = {f"{prefix}{name}".upper() for name in cls.model_fields}
        given = {name.upper() for name in environment} if prefix else set()
        for name in sorted(given - known):
            if name.startswith(prefix.upper()):
                raise SettingsError(
                    f"environment variable {name} is no setting{_did_you_mean(name, known)}"
                )

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        prefix = str(cls.model_config.get("env_prefix", ""))
        lines = []
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"])
            name = f"{field} ({prefix}{field.upper()})" if field else "settings"
            if item["type"] == "extra_forbidden":
                lines.append(f"{field} is no setting{_did_you_mean(field, cls.model_fields)}")
                continue
            known = cls.model_fields.get(field)
            meaning = f" ({known.description})" if known else ""
            lines.append(f"{name}: got {item['input']!r}, {item['msg']}{meaning}")
        return "\n".join(lines)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def exit_code_of(load: Callable[[], ServiceSettings], run: Callable[[Any], int]) -> int:
    """Loads settings and runs a service with them; 2 with a message when they are unusable."""
    import sys

    try:
        settings = load()
    except SettingsError as error:
        print(f"bad settings:\n{error}", file=sys.stderr)
        return EXIT_USAGE
    return run(settings)
