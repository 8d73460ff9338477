"""`foryou serve SERVICE`: one service in the foreground, until SIGTERM or Ctrl-C.

Its flags are its settings, one for one, so that a new setting needs nothing here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_origin

import typer
from pydantic.fields import FieldInfo

from foryou.errors import UsageError
from service_kit.settings import ServiceSettings, SettingsError


class Service(NamedTuple):
    """Where a service's settings and its `main(settings) -> exit code` live."""

    name: str
    summary: str
    settings: tuple[str, str]  # module, class
    main: str  # module


SERVICES = (
    Service(
        "home-mixer",
        "Build feeds: the product.",
        ("home_mixer.settings", "HomeMixerSettings"),
        "home_mixer.server",
    ),
    Service(
        "thunder",
        "Keep every recent post in memory; answer what followed accounts posted.",
        ("thunder.settings", "ThunderSettings"),
        "thunder.server",
    ),
    Service(
        "phoenix",
        "Predict every action for each candidate; retrieve candidates by two towers.",
        ("phoenix.settings", "PhoenixSettings"),
        "phoenix.server",
    ),
    Service(
        "ingester",
        "Keep home_mixer's feature stores current from the event topics.",
        ("home_mixer.settings", "IngesterSettings"),
        "home_mixer.ingester",
    ),
)
ALIASES = {"config_file": "config"}  # what the flag is called where not as the setting


def app(manual: str) -> typer.Typer:
    """One command a service."""
    group = typer.Typer(help=manual, no_args_is_help=True)
    for service in SERVICES:
        group.command(service.name, help=_manual(service))(_command(service))
    return group


def settings_class(service: Service) -> type[ServiceSettings]:
    """The settings of a service."""
    module, name = service.settings
    found: type[ServiceSettings] = getattr(import_module(module), name)
    return found


def _manual(service: Service) -> str:
    prefix = settings_class(service).model_config.get("env_prefix", "")
    return (
        f"{service.summary}\n\nEach flag is also an environment variable, {prefix}GRPC_PORT for "
        "--grpc-port, and a key of the TOML file that --config names. Flags win over the "
        f"environment, it over the file.\n\nExample: foryou serve {service.name} --data-dir DIR"
    )


def _command(service: Service) -> Callable[..., None]:
    """A function whose signature is the service's settings; typer reads it."""

    def serve(**flags: Any) -> None:
        given = {name: value for name, value in flags.items() if value is not None}
        for name in _lists(settings_class(service)) & given.keys():
            given[name] = given[name].split(",")
        try:
            settings = settings_class(service).load(**given)
        except SettingsError as error:
            raise UsageError(str(error)) from error
        run = import_module(service.main).main
        raise typer.Exit(run(settings))

    parameters = [
        _flag(name, field) for name, field in settings_class(service).model_fields.items()
    ]
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {item.name: item.annotation for item in parameters}
    return serve


def _lists(settings: type[ServiceSettings]) -> set[str]:
    """Settings of several values; their flags take them separated by commas."""
    fields = settings.model_fields.items()
    return {name for name, field in fields if get_origin(field.annotation) is tuple}


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """Flags stay text (booleans apart): the settings check them and name the bounds."""
    flag = "--" + ALIASES.get(name, name).replace("_", "-")
    boolean = field.annotation is bool
    option = typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if boolean else flag,
        help=f"{field.description} [default: {_default(field)}]",
        metavar=None if boolean else _metavar(field),
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[(bool if boolean else str) | None, option],
    )


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "none" if value is None or value == "" else str(value)


def _metavar(field: FieldInfo) -> str:
    kinds: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", Path | None: "PATH"}
    return kinds.get(field.annotation, "TEXT")
