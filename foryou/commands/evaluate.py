"""TODO"""

import typer


def app() -> typer.Typer:
    return typer.Typer(help="x", no_args_is_help=True)
