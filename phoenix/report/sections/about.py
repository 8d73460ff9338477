"""What the model is: data, configuration, training options, packages, sizes, with their hashes."""

from __future__ import annotations

from collections.abc import Mapping

from phoenix.report.facts import ModelFacts
from phoenix.report.html import Section, facts, heading, table
from phoenix.report.wording import count, moment, plain

DATA_NAMES = {
    "data_sha256": "SHA-256 of the training data",
    "impressions": "rows",
    "targets": "rows that were trained on",
}
OWN_KEYS = {  # shown in a place of their own, or of no use to a reader
    "options", "packages", "metrics", "step", "model_version", "params_sha256", "written_at_ms",
}  # fmt: skip
LIST_MAX = 40  # entries of a list that a reader would look at; ids of a catalogue are counted
TRAIN_AGAIN = "it was trained before that was recorded; train it again to have it"


def about(model: ModelFacts) -> Section:
    """The data, the configuration and the options, each with what identifies it."""
    missing = [
        f"The checkpoint does not say {what}: {TRAIN_AGAIN}."
        for key, what in (("options", "how it was trained"), ("packages", "with which packages"))
        if not isinstance(model.meta.get(key), Mapping)
    ]
    if not any("sha256" in name and name != "params_sha256" for name in model.meta):
        missing.append(
            "The checkpoint does not name its training data by a hash: train it with foryou train "
            "or foryou eval, which record one."
        )
    body = [
        heading("Files"),
        facts(_identity(model)),
        heading("Training data"),
        facts(_data(model)),
        heading("Configuration"),
        _configuration(model),
        *_options(model),
        *_packages(model),
        heading("Parameters"),
        _parameters(model),
    ]
    return Section("model", "Model and data", "\n".join(body), tuple(missing))


def _identity(model: ModelFacts) -> dict[str, str]:
    written = model.meta.get("written_at_ms")
    return {
        "version on disk": model.path.name,
        "model version": model.model_version,
        "written": moment(written) if isinstance(written, int | float) else "not recorded",
        "SHA-256 of config.json": model.config_sha256,
        "SHA-256 of the parameters": str(model.meta.get("params_sha256", "not recorded")),
    }


def _data(model: ModelFacts) -> dict[str, str]:
    values = {}
    for name, value in model.meta.items():
        if name in OWN_KEYS:
            continue
        label = DATA_NAMES.get(name, name.replace("_", " "))
        whole = isinstance(value, int) and not isinstance(value, bool)
        values[label] = count(value) if whole else plain(value)
        if isinstance(value, list) and len(value) > LIST_MAX:
            values[label] = f"{count(len(value))} entries"
    return values or {"recorded": "nothing"}


def _configuration(model: ModelFacts) -> str:
    values = {name: plain(value) for name, value in model.config.items()}
    return facts(values, f"{model.kind}; SHA-256 {model.config_sha256}")


def _options(model: ModelFacts) -> list[str]:
    options = model.meta.get("options")
    if not isinstance(options, Mapping):
        return []
    return [heading("Training options"), facts({str(k): plain(v) for k, v in options.items()})]


def _packages(model: ModelFacts) -> list[str]:
    packages = model.meta.get("packages")
    if not isinstance(packages, Mapping):
        return []
    return [heading("Packages"), facts({str(k): plain(v) for k, v in packages.items()})]


def _parameters(model: ModelFacts) -> str:
    if not model.parameters:
        return facts({"parameters": "kept in files of their own, not counted here"})
    total = sum(model.parameters.values())
    rows = [(name, count(size)) for name, size in model.parameters.items()]
    return table(("part", "floats"), [*rows, ("all", count(total))], own="all")
