"""A whole measurement on a small world: it learns, repeats itself, and says what it wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from phoenix.checkpoint import CheckpointError
from phoenix.sequential import ablation, report
from phoenix.sequential.config import configure, parse_setting, preset
from phoenix.sequential.experiment import Result, first_ranking, run
from phoenix.sequential.fitting import fit, make_step
from phoenix.sequential.interactions import Sequences, SplitInteractions
from phoenix.sequential.model import SequentialModel
from phoenix.sequential.predictions import write_predictions
from phoenix.sequential.protocol import Protocol, split
from phoenix.sequential.saving import data_digest, load_sequential, save_first

NANO = {**preset("nano"), "item_init": "random"}


@pytest.fixture(scope="module")
def result(markov: Protocol) -> Result:
    config, training = configure(markov.interactions.num_items, NANO)
    return run(markov, config, training, [3], refit=True)


def test_the_model_learns_what_follows_what(result: Result) -> None:
    """The whole point: far above popularity, and at the level of the counts that know it all."""
    rows = {row.name: row.mean["NDCG@10"] for row in result.rows}
    assert list(rows) == [
        "popularity", "co-occurrence count", "co-occurrence rate", "model", "model, refit",
    ]  # fmt: skip
    assert rows["model"] > 0.65 > 3 * rows["popularity"]
    assert rows["model, refit"] > 0.65


def test_predictions_measured_by_anyone_give_the_printed_figures(
    result: Result, markov: Protocol, markov_lines: list[str], tmp_path: Path
) -> None:
    """Others compute HR and NDCG from the file alone: ids, order and left-out items must hold."""
    ranking, name = first_ranking(result, 50)
    path = tmp_path / "predictions.parquet"
    rows = write_predictions(path, markov.interactions, ranking)
    assert name == "model, refit, seed 3"
    table = pq.read_table(path).to_pylist()
    assert len(table) == rows
    last = dict(line.split() for line in markov_lines)
    history = {user: set() for user in last}
    for line in markov_lines:
        history[line.split()[0]].add(line.split()[1])
    gain, hits = 0.0, 0
    for row in table:
        item = str(row["item"])
        assert item not in history[row["user"]] - {last[row["user"]]}
        if item == last[row["user"]] and row["rank"] <= 10:
            hits += 1
            gain += 1 / np.log2(row["rank"] + 1)
    printed = result.rows[-1].metrics[0]
    assert hits / len(last) == pytest.approx(printed["HR@10"], abs=1e-9)
    assert gain / len(last) == pytest.approx(printed["NDCG@10"], abs=1e-6)


def test_a_checkpoint_scores_as_the_model_that_was_measured(result: Result, tmp_path: Path) -> None:
    """What is kept must be what was printed, with the items' names."""
    path, _ = save_first(tmp_path, result)
    config, params, item_ids = load_sequential(tmp_path)
    assert (config, item_ids) == (result.config, result.protocol.interactions.item_ids)
    history = np.array([[1, 2, 3]], np.int32)
    model = SequentialModel(config)
    kept = result.trained[0].final.params
    np.testing.assert_array_equal(model.scores(params, history), model.scores(kept, history))
    meta = json.loads((path / "meta.json").read_text())
    assert meta["data_sha256"] == data_digest(result.protocol.interactions)
    assert meta["options"]["epochs"] == result.training.epochs
    (path / "params.npz").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        load_sequential(path)


def test_a_training_is_a_function_of_its_seed(markov: Protocol) -> None:
    """A figure that cannot be had again cannot be believed."""
    config, training = configure(markov.interactions.num_items, {**NANO, "epochs": 1})
    model = SequentialModel(config)
    step = make_step(model, training)
    first, again, other = (
        fit(model, markov.train, training, seed, step=step).params for seed in (0, 0, 1)
    )
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert not jax.tree.all(jax.tree.map(np.array_equal, first, other))


def test_the_best_parameters_are_kept_and_patience_ends_a_training(markov: Protocol) -> None:
    """Early stopping that keeps the last parameters would measure the overfitted ones."""
    config, training = configure(
        markov.interactions.num_items, {**NANO, "epochs": 9, "evaluate_every": 1, "patience": 2}
    )
    quality = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    seen = []

    def validate(params: dict[str, object]) -> dict[str, float]:
        seen.append(jax.tree.map(np.array, params))
        return {"NDCG@10": next(quality)}

    fitted = fit(SequentialModel(config), markov.train, training, 0, validate=validate)
    assert (fitted.epochs, fitted.best_epoch) == (4, 2)
    assert jax.tree.all(jax.tree.map(np.array_equal, fitted.params, seen[1]))


def test_an_ablation_names_each_change_and_its_gain(markov: Protocol) -> None:
    """The table is what decides which choices stay."""
    base = {**NANO, "epochs": 1}
    lines = ablation.ablate(markov, base, ["loss-gbce", "ema"], [0], say=lambda line: None)
    assert [line.name for line in lines] == ["base", "loss-gbce", "ema"]
    assert lines[0].gain == 0.0
    base_ndcg = lines[0].row.mean["NDCG@10"]
    assert lines[1].gain == pytest.approx(lines[1].row.mean["NDCG@10"] - base_ndcg)
    assert ablation.as_text(lines).count("\n") == 3
    with pytest.raises(ValueError, match="unknown lossless"):
        ablation.parse_names("lossless")


@pytest.mark.parametrize("name", ablation.CHANGES)
def test_every_change_of_the_ablation_is_a_configuration(name: str) -> None:
    """A night's ablation must not end at its last line."""
    config, training = configure(10, ablation.CHANGES[name])
    assert (config, training) != configure(10, {})


def test_a_set_without_order_is_learnt(markov: Protocol) -> None:
    """The split protocol's default: two groups of items whose users stay in their group."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.arange(1, 31) + 30 * (u % 2))[:12].tolist() for u in range(120)]
    data = SplitInteractions(
        replace(markov.interactions, sequences=Sequences.of([row[:8] for row in rows])),
        Sequences.of([row[8:] for row in rows]),
        0,
    )
    changes = {**NANO, "causal": False, "positions": "none", "epochs": 10}
    config, training = configure(60, changes)
    measured = run(split(data, ordered=False), config, training, [0])
    rows_by_name = {row.name: row.mean["Recall@20"] for row in measured.rows}
    assert rows_by_name["model"] > 0.8 > rows_by_name["popularity"] + 0.2


def test_the_report_says_time_speed_and_size(result: Result) -> None:
    """The bar is a quality at a training time: both stand in the text and the JSON."""
    text = report.as_text(result)
    for part in ("co-occurrence rate", "model, refit", "tokens/s", "parameters", "epochs"):
        assert part in text
    shown = report.as_json(result)
    assert shown["trainings"][0]["fit"]["train_seconds"] > 0
    assert [row["name"] for row in shown["rows"]] == [row.name for row in result.rows]


def test_settings_are_read_in_their_type() -> None:
    """`--set dropout=0.3` must be a number, and a misspelt name an error."""
    assert parse_setting("dropout=0.3") == ("dropout", 0.3)
    assert parse_setting("heads=2") == ("heads", 2)
    assert parse_setting("unit_norm=true") == ("unit_norm", True)
    for wrong, told in (("dropuot=1", "unknown setting"), ("heads=x", "int"), ("heads", "NAME=")):
        with pytest.raises(ValueError, match=told):
            parse_setting(wrong)
    with pytest.raises(ValueError, match="loss must be one of"):
        configure(10, {"loss": "hinge"})
