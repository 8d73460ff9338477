"""`foryou report`: one HTML page that says what a model is and how good it is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foryou.errors import UsageError

if TYPE_CHECKING:
    from phoenix.report.facts import ModelFacts
    from phoenix.report.judged import Judged

EXAMPLES = "Example: foryou report .foryou/checkpoints/ranker --data-dir .foryou"
HOW_TO_DRAW = "pictures need matplotlib: uv sync --extra training (or pip install matplotlib)"


def report(
    checkpoint: Annotated[
        Path, typer.Argument(help="Directory of checkpoints (the newest is taken), or one version.")
    ],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    evaluation: Annotated[
        Path | None,
        typer.Option(
            help="Directory of evaluation.json (and .parquet). [default: beside the checkpoint]"
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Measure a ranker on the events of this directory (or of Kafka)."),
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Measure a ranker on these impressions.")
    ] = None,
    from_ms: Annotated[
        int | None,
        typer.Option(help="Measure rows from this moment on (unix ms). [default: the last tenth]"),
    ] = None,
    ablations: Annotated[
        list[Path] | None, typer.Option(help="A file of `--ablate --json`; may be repeated.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the page and what it lacks as one JSON object.")
    ] = False,
) -> None:
    """Write a model's report: learning curves, quality, calibration, scores, slices, ablations.

    It needs no network to be read. What could not be drawn is named there with how to make it.
    """
    _refuse_two([evaluation, data_dir, parquet], from_ms)
    if out.is_dir():
        raise UsageError(f"--out {out} is a directory; expected a file to write")
    try:
        import matplotlib  # noqa: F401 - to say what is missing before anything is computed
    except ModuleNotFoundError as error:
        raise UsageError(HOW_TO_DRAW) from error
    from phoenix.report.ablations import read_ablations
    from phoenix.report.facts import read_facts
    from phoenix.report.ranked import read_result
    from phoenix.report.report import model_report, write_page

    model = read_facts(checkpoint)
    files = [read_ablations(path) for path in ablations or []]
    judged = _judged(model, evaluation, data_dir, parquet, from_ms)
    result = {} if judged is not None else read_result(model, evaluation)
    content = model_report(model, judged, files, int(time.time() * 1_000), result)
    write_page(content, out)
    if as_json:
        print(json.dumps({"report": str(out), "missing": content.missing}))
        return
    for sentence in content.missing:
        print(sentence)
    print(out)


def _refuse_two(sources: list[Path | None], from_ms: int | None) -> None:
    if sum(source is not None for source in sources) > 1:
        raise UsageError("--evaluation, --data-dir and --parquet exclude one another: give one")
    if from_ms is not None and sources[1] is None and sources[2] is None:
        raise UsageError("--from-ms says which rows to measure: give --data-dir or --parquet, too")


def _judged(
    model: ModelFacts,
    evaluation: Path | None,
    data_dir: Path | None,
    parquet: Path | None,
    from_ms: int | None,
) -> Judged | None:
    """The rows to report on, from wherever the options say."""
    from phoenix.report.judged import read_judged

    if parquet is not None:
        from phoenix.data.impressions import Impressions
        from phoenix.report.own_log import judge

        return judge(model, Impressions.read_parquet(parquet), from_ms)
    if data_dir is not None:
        from foryou.settings import deployment
        from phoenix.data.join import impressions_from_deployment
        from phoenix.report.own_log import judge

        settings = deployment(data_dir)
        names = tuple(model.config["action_names"])
        impressions = impressions_from_deployment(settings, None, names)
        before = None
        if from_ms is not None:
            before = impressions_from_deployment(settings, from_ms, names)
        return judge(model, impressions, from_ms, before)
    return read_judged(model, evaluation)
