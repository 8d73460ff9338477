"""The `foryou` command: demo, serve, feed, export, join, train, eval, report, bench and more.

Exit codes: 0 done, 1 failed, 2 called wrongly. Errors are one line; `foryou --debug …` shows the
traceback too. What a command needs (JAX, numba, gRPC) is imported when it runs, so that `--help`
answers at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from foryou.commands import (
    bench,
    demo,
    evaluate,
    export,
    feed,
    health,
    report,
    score,
    topics,
    train,
)
from foryou.errors import EXIT_FAILED, EXIT_USAGE, CommandError
from service_kit.signals import leave_on_signals

MANUAL = """An open For You feed: thunder, phoenix, home_mixer and the command that runs them.

Start here: `foryou demo` makes a synthetic community, starts every service, trains both models
and shows a ranked, explained feed.
"""
SERVE_MANUAL = "Run one service: home-mixer, thunder, phoenix or ingester."


def build_app(*, serve_flags: bool) -> typer.Typer:
    """The command tree. `serve_flags` loads every service's settings to make flags of them."""
    app = typer.Typer(
        help=MANUAL,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
    app.add_typer(_serve(serve_flags), name="serve")
    app.command("topics", epilog=topics.EXAMPLES)(topics.topics)
    app.command("feed", epilog=feed.EXAMPLES)(feed.feed)
    app.command("health", epilog=health.EXAMPLES)(health.health)
    app.command("score", epilog=score.EXAMPLES)(score.score)
    app.command("export", epilog=export.EXPORT_EXAMPLES)(export.export)
    app.command("join", epilog=export.JOIN_EXAMPLES)(export.join)
    app.add_typer(train.app(), name="train")
    app.add_typer(evaluate.app(), name="eval")
    app.command("report", epilog=report.EXAMPLES)(report.report)
    app.command("bench", epilog=bench.EXAMPLES, context_settings=bench.PASSES_OPTIONS_ON)(
        bench.bench
    )
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with `arguments` (the process's own by default) and exits with its code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "serve" in given:
        leave_on_signals()  # a service's imports take seconds; its own life takes over from there
    sys.exit(run(given))


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code and prints errors to standard error."""
    debug = "--debug" in arguments
    app = build_app(serve_flags="serve" in arguments)
    try:
        code = app(args=list(arguments), prog_name="foryou", standalone_mode=True)
    except SystemExit as stop:  # typer's own way out, after help and after wrong usage
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except CommandError as error:
        return _report(error, error.exit_code, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last resort says what happened, in one line
        return _report(error, EXIT_FAILED, debug=debug)
    return code if isinstance(code, int) else 0


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"foryou {version('foryou')}")
        raise typer.Exit()


def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options of every command; `--version` has ended the process before this runs."""


def _serve(with_flags: bool) -> typer.Typer:
    """The services' commands; without their flags while another command runs."""
    if not with_flags:
        return typer.Typer(help=SERVE_MANUAL, no_args_is_help=True)
    from foryou.commands import serve

    return serve.app(SERVE_MANUAL)


def _report(error: Exception, exit_code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    message = str(error) or type(error).__name__
    known = isinstance(error, CommandError | ValueError)
    print(f"error: {message if known else f'{type(error).__name__}: {message}'}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    main()
