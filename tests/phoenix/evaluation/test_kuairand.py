"""The KuaiRand evaluation: honest about test rows, clear about its input."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phoenix import metrics
from phoenix.config import ranker_preset
from phoenix.evaluation import kuairand, kuairand_data
from phoenix.evaluation.baselines.rates import SMOOTHING, Rates
from phoenix.evaluation.kuairand_report import measure
from phoenix.evaluation.kuairand_table import format_table

OUTCOMES = [column for column, _ in kuairand_data.ACTIONS.values()]
CONFIG = ranker_preset("nano", layers=1).with_actions(kuairand_data.OUR_ACTIONS)


def read_columns(path):
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


@pytest.fixture(scope="module")
def three_days_and_test(kuairand_tables, tmp_path_factory, write_kuairand):
    """(directory of three days, writer of the last day as a test file, its rows shuffled)."""
    table, _ = kuairand_tables
    last = table["time_ms"] >= np.quantile(table["time_ms"], 0.75)
    order = np.random.default_rng(1).permutation(np.flatnonzero(last))

    def write_test(name, **changes):
        changed = {k: v for k, v in (table | changes).items() if v is not None}
        path = tmp_path_factory.mktemp("test") / f"{name}.parquet"
        pq.write_table(pa.table({k: v[order] for k, v in changed.items()}), path)
        return path

    return write_kuairand(rows=~last), write_test, order


@pytest.fixture(scope="module")
def evaluated(three_days_and_test, tmp_path_factory):
    """One real run: (result, directory of the checkpoint, predictions file)."""
    directory, write_test, _ = three_days_and_test
    out = tmp_path_factory.mktemp("out")
    result = kuairand.run(
        directory,
        write_test("test"),
        predictions=out / "deep" / "predictions.parquet",
        steps=120,
        config=CONFIG,
        checkpoint_dir=out / "model",
        baselines=("popularity", "user_item", "co_occurrence"),
    )
    return result, out / "model", out / "deep" / "predictions.parquet"


@pytest.fixture(scope="module")
def predict(three_days_and_test, evaluated):
    """Predictions of the trained model for a version of the test file: p_<action> [N, A]."""
    directory, write_test, _ = three_days_and_test
    data = kuairand_data.load(directory)

    def probabilities(name, online=False, **changes):
        split = kuairand.make_split(data, directory, write_test(name, **changes))
        return kuairand.predict_test(evaluated[1], split, online)

    return probabilities


@pytest.fixture(scope="module")
def true_predictions(predict):
    return predict("true")


def test_result_holds_what_is_promised(evaluated):
    """Scripts read these keys, from JSON."""
    result = evaluated[0]
    assert {"primary", "popularity_primary", "user_item_rate_primary"} <= set(result)
    assert list(result["actions"]) == list(kuairand_data.ACTIONS)
    needed = {"auc", "auc_stderr", "gauc", "log_loss", "positives"}
    assert all(needed <= set(row) for row in result["actions"].values())
    json.dumps(result, allow_nan=False)
    shown = format_table(result)
    assert all(name in shown for name in kuairand_data.ACTIONS)
    assert f"{result['primary']:.4f}" in shown
    measured = result["actions"]["click"]
    for name in ("ece", "ece_by_chance", "ece_equal_width", "ece_equal_width_by_chance"):
        assert f"{measured[name]:.4f}" in shown


def test_the_trained_model_knows_more_than_nothing(evaluated):
    """A pipeline that mixes up rows or labels cannot beat a coin by this much."""
    row = evaluated[0]["actions"]["long_view"]
    assert row["auc"] > 0.5 + 2 * row["auc_stderr"]


def test_predictions_are_in_the_files_order_and_give_the_metrics(
    evaluated, three_days_and_test, kuairand_tables
):
    """Others compute the metrics from this file; a shuffled test file keeps its own order."""
    table, rows = kuairand_tables[0], three_days_and_test[2]
    predicted = read_columns(evaluated[2])
    names = [f"p_{name}" for name in kuairand_data.ACTIONS]
    assert list(predicted) == ["user_id", "video_id", "time_ms", *names]
    for name in ("user_id", "video_id", "time_ms"):
        np.testing.assert_array_equal(predicted[name], table[name][rows])
    again = metrics.primary(
        predicted["user_id"], table["long_view"][rows], predicted["p_long_view"]
    )
    assert evaluated[0]["primary"] == pytest.approx(again)


def test_test_outcomes_change_no_prediction(predict, true_predictions, kuairand_tables):
    """Flipping every outcome and play time of the test rows must leave every bit alone."""
    table, _ = kuairand_tables
    flipped = {name: 1 - table[name] for name in OUTCOMES} | {"play_time_ms": table["time_ms"] * 0}
    np.testing.assert_array_equal(true_predictions, predict("flipped", **flipped))


def test_online_lets_earlier_test_rows_into_histories(
    predict, true_predictions, kuairand_tables, three_days_and_test
):
    """The switch must do what it says, else the test above proves nothing."""
    differs = (true_predictions != predict("on", online=True)).any(axis=1)
    users, times = (kuairand_tables[0][n][three_days_and_test[2]] for n in ("user_id", "time_ms"))
    first_of_user = np.array(
        [t == times[users == u].min() for u, t in zip(users, times, strict=True)]
    )
    assert differs[~first_of_user].mean() > 0.5
    assert not differs[first_of_user].any()


def test_a_test_file_without_outcomes_is_predicted(predict, true_predictions, three_days_and_test):
    """Whoever keeps the outcomes to themselves still gets predictions, and no invented metric."""
    hidden = dict.fromkeys([*OUTCOMES, "play_time_ms"])
    predicted = predict("hidden", **hidden)
    np.testing.assert_array_equal(predicted, true_predictions)
    directory, write_test, _ = three_days_and_test
    data = kuairand_data.load(directory)
    split = kuairand.make_split(data, directory, write_test("hidden", **hidden))
    result = measure(split.train, split.older, split.test, predicted)
    assert result["primary"] is None
    assert result["actions"] == {}
    with pytest.raises(ValueError, match="--online needs"):
        predict("hidden", online=True, **hidden)


def test_test_rows_inside_the_directory_are_not_trained_on(three_days_and_test, write_kuairand):
    """The natural call, whole directory plus its last day as a file, must not leak."""
    _, write_test, _ = three_days_and_test
    whole = write_kuairand()
    data = kuairand_data.load(whole)
    split = kuairand.make_split(data, whole, write_test("test"))
    assert split.removed_rows == len(split.test) == 300
    assert len(split.train) == 900
    assert split.train.time_ms.max() < split.test.time_ms.min()


def test_the_last_day_is_the_test_day(write_kuairand):
    """Without a test file, training ends at midnight in the set's time zone."""
    whole = write_kuairand()
    split = kuairand.make_split(kuairand_data.load(whole), whole, None)
    assert set(split.train.days) == {int(split.test.days[0]) - d for d in (1, 2, 3)}
    assert len(set(split.test.days)) == 1


def test_the_sets_own_date_decides_where_there_is_one(write_kuairand, kuairand_tables):
    """Its times run up to an hour apart from its dates; others split by `date`."""
    table, _ = kuairand_tables
    date = np.where(table["video_id"] % 2, 20220427, 20220428)
    whole = write_kuairand(date=date)
    split = kuairand.make_split(kuairand_data.load(whole), whole, None)
    assert (split.test.video_ids % 2 == 0).all()
    assert (split.train.video_ids % 2 == 1).all()


def test_older_history_keeps_order_and_says_nothing_of_time(write_kuairand):
    """Rows without times come before all others, in their order, and look of unknown age."""
    older = kuairand_data.load(write_kuairand()).older
    assert (older.impressed_at_ms < 0).all()
    assert (np.diff(older.impressed_at_ms[older.viewer_ids == 1]) == 1).all()
    assert (older.author_ids > 0).mean() > 0.9
    assert older.labels[:, [1, 2]].any()
    assert not older.labels[:, [0, 3, 4, 5, 6, 7]].any()


def test_bad_directories_and_files_are_named(write_kuairand, tmp_path):
    """Each message says what is missing and where."""
    with pytest.raises(ValueError, match="nowhere is no directory"):
        kuairand.run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no impressions"):
        kuairand.run(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"lacks the columns \['tab', 'is_hate'\]"):
        kuairand.run(write_kuairand(is_hate=None, tab=None))
    with pytest.raises(ValueError, match="no_test is no file"):
        kuairand.run(write_kuairand(), tmp_path / "no_test")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dev_impressions.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(ValueError, match="cannot be read"):
        kuairand.run(tmp_path / "broken")


def test_a_single_day_is_refused(write_kuairand, kuairand_tables):
    """There would be nothing to train on."""
    table, _ = kuairand_tables
    day = np.full(len(table["time_ms"]), table["time_ms"][0])
    with pytest.raises(ValueError, match="one day only"):
        kuairand.run(write_kuairand(time_ms=day))


def test_rates_by_hand():
    """Item 5: 2 of 3 positive; overall rate 1/2; an unseen item gets the overall rate."""
    known = Rates(np.array([1, 1, 2, 2]), np.array([5, 5, 5, 6]), np.array([1, 1, 0, 0.0]))
    expected = [(2 + SMOOTHING / 2) / (3 + SMOOTHING), 0.5]
    np.testing.assert_allclose(known.of_items(np.array([5, 99])), expected)
    user = (2 + SMOOTHING / 2) / (2 + SMOOTHING)
    np.testing.assert_allclose(
        known.of_pairs(np.array([1, 1]), np.array([5, 99])), [user * expected[0] / 0.5, user]
    )


@pytest.mark.data
def test_real_data_beats_popularity():
    """The figure in README.md; a few minutes."""
    directory = os.environ.get("FORYOU_KUAIRAND_DIR")
    if not directory:
        pytest.skip("FORYOU_KUAIRAND_DIR does not name a directory with KuaiRand-Pure's files")
    result = kuairand.run(Path(directory))
    assert result["primary"] > result["popularity_primary"] > result["constant_primary"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": slice(0)}, "holds no rows"),
        ({"is_click": [None] * 1_200}, "is_click"),
        ({"time_ms": [1.0, None] * 600}, "time_ms"),
    ],
)
def test_a_test_file_with_holes_is_refused(write_kuairand, change, message):
    """Unknown outcomes counted as refusals would give a metric that nobody measured."""
    path = write_kuairand(**change) / "dev_impressions.parquet"
    with pytest.raises(ValueError, match=message):
        kuairand_data.load_test(path, {})
