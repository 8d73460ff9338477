"""What each choice brings: the model against itself with one thing changed, with one budget.

Everything happens on the validation day, the day before the last: nothing later is trained on, and
the last day is not looked at. The difference is the changed model's primary less the base's: below
0 where the base's choice helps, above 0 where the change would. One seed moves the primary by some
0.004: take several.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phoenix import metrics
from phoenix.config import RankerConfig
from phoenix.data.impressions import Impressions
from phoenix.evaluation.kuairand import (
    Split,
    default_config,
    default_options,
    make_split,
    predict_test,
)
from phoenix.evaluation.kuairand_content import with_content
from phoenix.evaluation.kuairand_data import ACTIONS, load
from phoenix.evaluation.kuairand_statics import load_statics, video_catalogue
from phoenix.training import train_ranker
from phoenix.training_options import Progress, TrainingOptions

CONTENT_WIDTH = 16
RARE_WEIGHTS = {"favorite": 3.0, "profile_click": 3.0, "reply": 5.0, "follow_author": 5.0}
SHOWN = ("long_view", "click", "like")  # actions whose GAUC is shown; the others have too few


@dataclass(frozen=True, eq=False)
class Trial:
    """One model to be trained and tested."""

    config: RankerConfig
    options: TrainingOptions
    split: Split
    seen: Impressions


Change = Callable[[Trial], Trial]


def changes() -> Mapping[str, tuple[str, Change]]:
    """Name → (what is other than in the base, how)."""
    return {
        "two-layers": ("two layers", _config(layers=2)),
        "causal": ("two layers, causal context", _config(layers=2, causal=True)),
        "no-tags": ("tags are not read", _config(tag_rows=0)),
        "no-time": ("time of day is not read", _config(time_of_day=False)),
        "no-duration": ("durations are not read", _config(durations=False)),
        "no-rates": ("past rates are not read", _config(rates=False)),
        "no-wide": ("no wide part", _config(wide_action="")),
        "wide-alone": ("the wide part alone tells long_view", _config(wide_share=1.0)),
        "content": ("content vectors are read", _with_content),
        "no-history": ("no history", _without_history),
        "fresh-history": ("training rows know their own day", _fresh_history),
        "no-author-match": ("no past with the author", _config(author_match=False)),
        "taste-profile": ("a taste profile of four channels", _config(profile_channels=4)),
        "no-dwell-head": ("dwell is not learned", _options(dwell_weight=0.0)),
        "action-weights": ("rare actions weigh more", _options(action_weights=RARE_WEIGHTS)),
        "listwise": ("a softmax within a context beside", _options(listwise_weight=0.3)),
        "even-weight": ("older and recent rows weigh the same", _even_weight),
        "long-history": ("twice the history", _config(history_length=64)),
        "muon": ("Muon instead of AdamW for matrices", _options(optimizer="muon")),
        "no-label-mask": ("what was not recorded counts as refused", _without_mask),
    }


def names_of(wanted: str) -> list[str]:
    """`all` or a comma list → names. ValueError: one is unknown."""
    known = list(changes())
    names = known if wanted == "all" else [name.strip() for name in wanted.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown choices {unknown}; give all, or some of {', '.join(known)}")
    return names


def ablate(
    data_dir: Path,
    names: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    config: RankerConfig | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> dict[str, Any]:
    """Train the base and each changed model; a JSON-ready result. ValueError: see `names_of`."""
    known = changes()
    split = make_split(load(data_dir), data_dir, None, validate=True)
    split = replace(split, catalogue=video_catalogue(load_statics(data_dir)))
    content = _content_catalogue(split, data_dir) if "content" in names else None
    seen = split.learned_from
    trials: dict[str, tuple[str, Change]] = {"base": ("the model as it is", lambda trial: trial)}
    trials |= {name: known[name] for name in names}
    rows: list[dict[str, Any]] = []
    for name, (what, change) in trials.items():
        measured = []
        for seed in seeds:
            options = default_options(seed, steps, None)
            trial = Trial(config or default_config(), options, split, seen)
            if name == "content":
                trial = replace(trial, split=replace(split, catalogue=content))
            line = progress(f"{name} {seed}") if progress is not None else None
            measured.append(_measured(change(trial), line))
        mean = {key: float(np.mean([m[key] for m in measured])) for key in measured[0]}
        rows.append({"name": name, "what": what, **mean})
    for row in rows:
        row["difference"] = row["primary"] - rows[0]["primary"]
    return {"day": "validation", "seeds": list(seeds), "steps": options.steps, "rows": rows}


def format_ablation(result: Mapping[str, Any]) -> str:
    """The result as a Markdown table."""
    head = ["choice", "primary", *(f"{name} GAUC" for name in SHOWN), "difference"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for row in result["rows"]:
        figures = [f"{row['primary']:.4f}", *(f"{row[f'{name}_gauc']:.4f}" for name in SHOWN)]
        difference = "–" if row["name"] == "base" else f"{row['difference']:+.4f}"
        lines.append(" | ".join([f"{row['name']}: {row['what']}", *figures, difference]))
    return "\n".join(f"| {line} |" for line in lines)


def _measured(trial: Trial, progress: Progress | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="foryou-ablation-") as temporary:
        directory = Path(temporary)
        train_ranker(trial.seen, trial.config, trial.options, directory, progress=progress)
        probabilities = predict_test(directory, trial.split, online=False)
    test, columns = trial.split.test, list(ACTIONS)
    users, outcomes = test.user_ids, test.outcomes
    gauc = {
        f"{name}_gauc": metrics.gauc(users, outcomes[name], probabilities[:, columns.index(name)])
        for name in SHOWN
    }
    scores = probabilities[:, columns.index("long_view")]
    return {"primary": metrics.primary(users, outcomes["long_view"], scores), **gauc}


def _config(**values: Any) -> Change:
    return lambda trial: replace(trial, config=replace(trial.config, **values))


def _options(**values: Any) -> Change:
    return lambda trial: replace(trial, options=replace(trial.options, **values))


def _content_catalogue(split: Split, data_dir: Path) -> Any:
    assert split.catalogue is not None
    statics = load_statics(data_dir)
    return with_content(split.catalogue, statics, split.impressions, CONTENT_WIDTH)


def _with_content(trial: Trial) -> Trial:
    seen = trial.seen.replace(catalogue=trial.split.catalogue)
    return replace(trial, seen=seen, config=replace(trial.config, content_width=CONTENT_WIDTH))


def _without_history(trial: Trial) -> Trial:
    """In training and in the test, which takes its histories from the split."""
    seen = trial.seen.replace(in_history=np.zeros(len(trial.seen), np.bool_))
    nothing = replace(
        trial.split, train=trial.split.train.take(np.zeros(len(trial.split.train), bool))
    )
    nothing = replace(nothing, older=nothing.older.take(np.zeros(len(nothing.older), bool)))
    return replace(trial, seen=seen, split=nothing)


def _even_weight(trial: Trial) -> Trial:
    even = (trial.seen.weight > 0).astype(np.float32)
    return replace(trial, seen=trial.seen.replace(weight=even))


def _fresh_history(trial: Trial) -> Trial:
    return replace(trial, seen=trial.split.impressions)


def _without_mask(trial: Trial) -> Trial:
    every = np.ones(trial.seen.labels.shape, np.bool_)
    return replace(trial, seen=trial.seen.replace(labels_known=every))
