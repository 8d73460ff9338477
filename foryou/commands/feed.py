"""`foryou feed VIEWER`: a viewer's feed from a running home_mixer, with its reasons."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from foryou.errors import CommandError, UsageError

EXAMPLES = "Example: foryou feed 10063357 --address 127.0.0.1:50051 --json"
TIMEOUT_SECONDS = 10.0
UNREACHABLE = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})


def feed(
    viewer: Annotated[int, typer.Argument(help="Account whose feed to build.", min=1)],
    address: Annotated[str, typer.Option(help="host:port of home_mixer.")] = "127.0.0.1:50051",
    seen: Annotated[
        str, typer.Option(help="Post ids already seen, separated by commas.", metavar="IDS")
    ] = "",
    in_network_only: Annotated[
        bool, typer.Option("--in-network-only", help="Followed accounts only.")
    ] = False,
    timeout_seconds: Annotated[float, typer.Option(help="How long to wait.")] = TIMEOUT_SECONDS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Show a viewer's feed: rank, author, text, network, score and its strongest terms."""
    from home_mixer.client import FeedError, HomeMixerClient, scored_posts_query

    query = scored_posts_query(viewer, seen_ids=_ids(seen), in_network_only=in_network_only)
    try:
        with HomeMixerClient(address, timeout_s=timeout_seconds) as client:
            answer = client.explain(query)
    except FeedError as error:
        if error.code in UNREACHABLE:
            raise CommandError(
                f"home_mixer does not answer at {address} ({error}); start it with "
                "`foryou serve home-mixer`, or `foryou demo` for everything, and give its "
                "address with --address"
            ) from error
        raise CommandError(str(error)) from error
    from foryou.tables import console, feed_table, post_rows, served, why_empty

    response = answer.response
    if as_json:
        result = {
            "viewer_id": viewer,
            "posts": post_rows(answer),
            "request_id": response.request_id,
            "params_hash": response.params_hash,
            "model_version": response.model_version,
            "degraded_reasons": list(response.degraded_reasons),
        }
        print(json.dumps(result))
        return
    out = console()
    out.print(feed_table(answer, f"The feed of viewer {viewer}"))
    if not served(answer):
        out.print(why_empty(answer))
    if response.degraded_reasons:
        out.print(f"degraded: {', '.join(response.degraded_reasons)}")


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(
            f"--seen is {text!r}, expected post ids separated by commas, such as 17,23"
        ) from error
