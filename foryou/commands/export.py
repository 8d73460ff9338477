"""`foryou export` and `foryou join`: from event topics to the Parquet that training reads."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foryou.errors import CommandError, UsageError

if TYPE_CHECKING:
    from phoenix.data.export import TopicExport

EXPORT_EXAMPLES = (
    "Example: foryou export --data-dir .foryou --out events. Run again, it adds what is new."
)
JOIN_EXAMPLES = (
    "Examples: `foryou join --events events --out impressions.parquet` · "
    "`foryou join --events events --out day2.parquet --after-ms T1 --until-ms T2`; then "
    "`foryou train ranker --parquet impressions.parquet`"
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def export(
    out: Annotated[Path, typer.Option(help="Directory of the Parquet parts; made if missing.")],
    data_dir: Annotated[Path, typer.Option(help="Directory that the services share.")] = Path(
        ".foryou"
    ),
    as_json: AsJson = False,
) -> None:
    """Write the served posts, actions and post events of the topics as Parquet files.

    Reads Kafka where KAFKA_BOOTSTRAP_SERVERS names brokers, else DATA_DIR/log. Goes on from where
    the parts in OUT end, each event exactly once; what the topics hold twice stays twice.
    """
    from foryou.settings import deployment
    from service_kit.event_log import LogUnavailableError, TopicError

    settings = deployment(data_dir)
    brokers = settings.kafka_bootstrap_servers
    if not brokers and not settings.log_dir.is_dir():
        raise UsageError(
            f"{settings.log_dir} is no event log; name a directory that holds one by --data-dir, "
            "or brokers by KAFKA_BOOTSTRAP_SERVERS"
        )
    try:
        result = asyncio.run(_export(settings, out))
    except (LogUnavailableError, TopicError, TimeoutError) as error:
        raise CommandError(f"{brokers or settings.log_dir}: {error}") from error
    print(_as_json(result) if as_json else _as_text(result))


async def _export(settings: Any, out: Path) -> dict[str, TopicExport]:
    from phoenix.data.export import DIRECTORIES, export_topics
    from service_kit.event_logs import open_source

    source = await open_source(settings, list(DIRECTORIES))
    try:
        return await export_topics(source, out)
    finally:
        await source.close()


def join(
    events: Annotated[Path, typer.Option(help="Directory that `foryou export` wrote.")],
    out: Annotated[Path, typer.Option(help="Parquet file of impressions to write.")],
    engine: Annotated[str, typer.Option(help="duckdb or spark.")] = "duckdb",
    until_ms: Annotated[
        int | None,
        typer.Option(help="Ignore events at or after it (unix ms), and what had not closed by it."),
    ] = None,
    after_ms: Annotated[
        int | None,
        typer.Option(
            help="Only what closed after it: for a join piece by piece. The first piece has 0.",
            min=0,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Join what was served with what followed: each served post once, with its actions.

    An impression is there once its half hour has closed, so events may come late and in any order
    as long as UNTIL_MS lies behind the log's end by the longest delay.
    """
    from phoenix.data.sql_join import ENGINES, EngineMissingError, JoinSettings, join_events

    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: expected one of {', '.join(ENGINES)}")
    limits = {"until_ms": until_ms, "after_ms": after_ms}
    try:
        settings = JoinSettings(**{name: ms for name, ms in limits.items() if ms is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        rows = join_events(events, out, settings, engine)
    except EngineMissingError as error:
        raise CommandError(str(error)) from error
    print(json.dumps({"rows": rows, "out": str(out)}) if as_json else f"{rows} rows: {out}")


def _as_json(result: dict[str, TopicExport]) -> str:
    return json.dumps(
        {
            topic: {"rows": t.rows, "parts": t.parts, "lost": t.lost, "rejected": t.rejected}
            for topic, t in result.items()
        }
    )


def _as_text(result: dict[str, TopicExport]) -> str:
    width = max(map(len, result))
    lines = []
    for topic, added in result.items():
        lines.append(f"{topic:<{width}}  {added.rows:>9} rows in {added.parts} new parts")
        lines += [f"  left out: {n} {reason}" for reason, n in sorted(added.rejected.items())]
        if added.lost:
            lines.append(f"  lost: {added.lost} events that the log forgot before this export")
    return "\n".join(lines)
