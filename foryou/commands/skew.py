"""`foryou eval skew`: is what was served what training sees?"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foryou.errors import CommandError, UsageError

if TYPE_CHECKING:
    from phoenix.evaluation.skew import SkewReport
    from phoenix.evaluation.skew_log import SkewLog

SKEW_EXAMPLES = "Example: foryou eval skew --data-dir .foryou, after `foryou demo`"


def skew(
    data_dir: Annotated[Path, typer.Option(help="Directory that the services share.")] = Path(
        ".foryou"
    ),
    ranker: Annotated[
        Path | None,
        typer.Option(help="Checkpoints that served. [default: DATA_DIR/checkpoints/ranker]"),
    ] = None,
    fresh_ms: Annotated[
        int,
        typer.Option(
            help="Actions younger than this at a request may be missing in its features.", min=0
        ),
    ] = 10_000,
    tolerance: Annotated[
        float, typer.Option(help="Share of feeds that may have other features.", min=0, max=1)
    ] = 0.01,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Score the logged features again, and make them again from the events; compare both.

    The features are those that home_mixer keeps of one feed in HOME_MIXER__SERVED_FEATURES_EVERY.
    Fails (exit code 1) when probabilities differ by more than 1e-5, when more than TOLERANCE of
    the feeds have other features than training would make, or when there is nothing to check.
    """
    from foryou.settings import deployment
    from phoenix.evaluation.skew import check_skew
    from service_kit.event_log import LogUnavailableError, TopicError

    settings = deployment(data_dir)
    brokers = settings.kafka_bootstrap_servers
    if not brokers and not settings.log_dir.is_dir():
        raise UsageError(
            f"{settings.log_dir} is no event log; name a directory that holds one by --data-dir, "
            "or brokers by KAFKA_BOOTSTRAP_SERVERS"
        )
    try:
        log = asyncio.run(_read(settings))
    except (LogUnavailableError, TopicError, TimeoutError) as error:
        raise CommandError(f"{brokers or settings.log_dir}: {error}") from error
    report = check_skew(
        log,
        ranker or data_dir / "checkpoints" / "ranker",
        fresh_ms=fresh_ms,
        differing_share_max=tolerance,
    )
    print(json.dumps(report.as_json()) if as_json else _as_text(report))
    if report.reasons():
        raise CommandError("; ".join(report.reasons()))


async def _read(settings: Any) -> SkewLog:
    from phoenix.data.join import TRAINING_TOPICS
    from phoenix.evaluation.skew_log import read_skew_log
    from service_kit.event_logs import open_source

    source = await open_source(settings, TRAINING_TOPICS)
    try:
        return await read_skew_log(source)
    finally:
        await source.close()


def _as_text(report: SkewReport) -> str:
    lines = [
        f"served feeds         {report.served}, {report.feeds} with features",
        f"checked              {report.scored}",
        f"probabilities        differ by at most {report.probability_difference:.1e}",
        f"dwell                differs by at most {report.dwell_relative_difference:.1e} of itself",
        f"same features        {report.equal} of {report.scored} feeds",
        f"allowed to differ    {report.young_events} young events, {report.open_events} open ones",
    ]
    lines += [f"other model          {n} feeds of {v!r}" for v, n in report.other_models.items()]
    lines += [f"unusable             {n} {why}" for why, n in report.unusable.items()]
    for name, count in sorted(report.differing.items()):
        lines.append(f"differs              {name} in {count} feeds: {report.examples[name]}")
    return "\n".join(lines)
