"""`foryou demo`: from nothing to a ranked, explained feed in one command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foryou.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from foryou.demo import DemoOptions, DemoResult
    from foryou.running_services import Addresses

EXAMPLES = (
    "Examples: `foryou demo` shows a feed and serves until Ctrl-C; "
    "`foryou demo --headless --json > demo.json` is for programs; "
    "`docker compose --profile demo up` runs `foryou demo --running` on its containers."
)
USERS_DEFAULT = 2_000
TRAIN_SECONDS_DEFAULT = 60.0  # the first feed then comes within two minutes on two cores


def demo(
    seed: Annotated[
        int, typer.Option(help="Equal seeds make equal worlds.", min=0, envvar="DEMO_SEED")
    ] = 1,
    users: Annotated[
        int, typer.Option(help="Accounts in the world.", envvar="DEMO_USERS")
    ] = USERS_DEFAULT,
    viewer: Annotated[
        int | None, typer.Option(help="Whose feed to show. [default: one with a rich history]")
    ] = None,
    train_seconds: Annotated[
        float,
        typer.Option(
            help="Time budget of the ranker's training.", min=1, envvar="DEMO_TRAIN_SECONDS"
        ),
    ] = TRAIN_SECONDS_DEFAULT,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Empty directory to keep; with --running, phoenix's. [default: a temporary one]",
            envvar="DEMO_DATA_DIR",
        ),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="Stop after the feed instead of serving.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    running: Annotated[
        bool,
        typer.Option(
            "--running",
            help="Load a suite that runs already, through KAFKA_BOOTSTRAP_SERVERS, and end.",
        ),
    ] = False,
    home_mixer_address: Annotated[
        str, typer.Option(help="With --running: home_mixer.", envvar="DEMO_HOME_MIXER_ADDRESS")
    ] = "127.0.0.1:50051",
    phoenix_address: Annotated[
        str, typer.Option(help="With --running: phoenix.", envvar="DEMO_PHOENIX_ADDRESS")
    ] = "127.0.0.1:50053",
    metrics_addresses: Annotated[
        str,
        typer.Option(
            help="With --running: host:port of the metrics of every service that reads events, "
            "separated by commas.",
            envvar="DEMO_METRICS_ADDRESSES",
        ),
    ] = "",
) -> None:
    """Make a synthetic community, start every service, train both models and show a feed.

    The world's tastes are hidden: the models learn from its events alone. Captured engagement
    says how much of what an all-knowing ranking would add to newest-first the feed does add.
    """
    from foryou.demo import DemoOptions
    from foryou.world import WorldConfig

    now_ms = time.time_ns() // 1_000_000
    try:
        WorldConfig(seed=seed, users=users, now_ms=now_ms)
    except ValueError as error:
        raise UsageError(str(error)) from error
    addresses = None
    if running:
        addresses = _addresses(data_dir, home_mixer_address, phoenix_address, metrics_addresses)
    with contextlib.ExitStack() as stack:
        directory = data_dir or _temporary(stack)
        options = DemoOptions(
            data_dir=directory.absolute(),
            seed=seed,
            users=users,
            train_seconds=train_seconds,
            now_ms=now_ms,
            viewer_id=viewer,
        )
        try:
            asyncio.run(_demo(options, addresses, headless=headless, as_json=as_json))
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None


def _addresses(data_dir: Path | None, home_mixer: str, phoenix: str, metrics: str) -> Addresses:
    """Where a running suite is; UsageError for what is missing."""
    from foryou.running_services import Addresses

    named = tuple(part.strip() for part in metrics.split(",") if part.strip())
    if data_dir is None:
        raise UsageError(
            "--running needs --data-dir (DEMO_DATA_DIR), the directory in which phoenix looks for "
            "its checkpoints"
        )
    if not named or not all(":" in address for address in named):
        raise UsageError(
            f"--metrics-addresses (DEMO_METRICS_ADDRESSES) is {metrics!r}, expected host:port of "
            "every service that reads events, separated by commas: else nobody knows when they "
            "have read the demo's"
        )
    return Addresses(home_mixer, phoenix, named)


async def _demo(
    options: DemoOptions, addresses: Addresses | None, *, headless: bool, as_json: bool
) -> None:
    from foryou.children import Children, ending_on_signals, until_interrupted
    from foryou.demo import run_demo
    from foryou.local_services import LocalServices
    from foryou.phases import Phases
    from foryou.running_services import RunningServices

    phases = Phases(sys.stderr)
    async with Children(options.data_dir) as children:
        services = (
            RunningServices(options.data_dir, addresses, phases)
            if addresses
            else LocalServices(options.data_dir, children, phases)
        )
        async with ending_on_signals():
            result = await run_demo(options, services, children, phases)
        _show(result, as_json=as_json)
        if addresses:
            ask = f"foryou feed {result.viewer_id} --address {addresses.home_mixer}"
            phases.say(f"the services go on serving; ask again with `{ask}`")
        elif not headless:
            _say_how_to_call(result, options)
            await until_interrupted()


def _show(result: DemoResult, *, as_json: bool) -> None:
    from foryou import demo_report

    if as_json:
        print(json.dumps(demo_report.as_json(result)), flush=True)
    else:
        demo_report.show(result)


def _say_how_to_call(result: DemoResult, options: DemoOptions) -> None:
    from foryou import demo_report

    print(demo_report.how_to_call(result, options.data_dir), file=sys.stderr, flush=True)


def _temporary(stack: contextlib.ExitStack) -> Path:
    """A directory that goes when the demo succeeds or is interrupted, and stays when it fails."""
    directory = Path(tempfile.mkdtemp(prefix="foryou-demo-"))

    def leave(kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Interrupted):
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"what happened is in {directory}/logs", file=sys.stderr)

    stack.push(leave)
    return directory
