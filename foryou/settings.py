"""Where the deployment's events are, for the commands that read or write them themselves.

`foryou demo --running`, `foryou train` and `foryou topics` are told as the services are:
KAFKA_BOOTSTRAP_SERVERS, or FORYOU__KAFKA_BOOTSTRAP_SERVERS and FORYOU__KAFKA_TOPIC_PREFIX.
"""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import SettingsConfigDict

from foryou.errors import UsageError
from service_kit.settings import ServiceSettings, SettingsError


class CommandSettings(ServiceSettings):
    """The settings that all services share; those of serving mean nothing here."""

    model_config = SettingsConfigDict(env_prefix="FORYOU__")


def deployment(data_dir: Path, *, kafka: bool = True) -> CommandSettings:
    """The deployment that the environment names; without `kafka`, the one of a directory alone.

    Raises UsageError for settings that cannot be used.
    """
    brokers = None if kafka else ""
    try:
        return CommandSettings.load(data_dir=data_dir, kafka_bootstrap_servers=brokers)
    except SettingsError as error:
        raise UsageError(str(error)) from error
