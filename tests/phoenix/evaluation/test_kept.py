"""The files that an evaluation leaves: others read them, so names and meaning are promises."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phoenix.config import ranker_preset
from phoenix.evaluation import kuairand, kuairand_data
from phoenix.evaluation.kept import read_evaluation
from phoenix.evaluation.kuairand_kept import known_events
from phoenix.evaluation.kuairand_statics import load_statics, padded

ACTIONS = tuple(kuairand_data.ACTIONS)


@pytest.fixture(scope="module")
def kept(write_kuairand, tmp_path_factory):
    """(directory, result of the run, the test rows) of one evaluation that was kept."""
    directory = write_kuairand()
    text = "video_id,author_id,upload_dt,video_duration,tag\n" + "".join(
        f"{video},{video % 12},2022-04-20,{1000 * video},{video % 5}\n" for video in range(30)
    )
    (directory / "video_features_basic_pure.csv").write_text(text)
    out = tmp_path_factory.mktemp("kept")
    config = ranker_preset("nano", layers=1).with_actions(kuairand_data.OUR_ACTIONS)
    result = kuairand.run(
        directory, steps=3, config=config, checkpoint_dir=out, baselines=(), calibrate=False
    )
    split = kuairand.make_split(kuairand_data.load(directory), directory, None)
    return out, result, split


def test_a_kept_evaluation_holds_rows_and_result(kept):
    """`foryou report` and others' metrics read these columns, in the test's order."""
    out, result, split = kept
    table = pq.read_table(out / "evaluation.parquet")
    expected = ["viewer_id", "post_id", "time_ms", "history_count", "post_age_seconds"]
    expected += [f"{kind}_{name}" for name in ACTIONS for kind in ("label", "p", "raw")]
    assert table.column_names == expected
    rows, read = read_evaluation(out)
    assert json.loads(json.dumps(result)) == read
    np.testing.assert_array_equal(rows.viewer_ids, split.test.user_ids)
    np.testing.assert_array_equal(rows.labels["like"], split.test.outcomes["like"])
    assert ((rows.probabilities > 0) & (rows.probabilities < 1)).all()


def test_the_age_counts_from_the_upload_day(kept):
    """20 April 00:00 in China; a video that the set does not list has no age."""
    rows, _ = read_evaluation(kept[0])
    listed = rows.post_ids < 30
    assert np.isnan(rows.post_age_seconds[~listed]).all()
    uploaded_ms = 1_650_384_000_000
    np.testing.assert_allclose(
        rows.post_age_seconds[listed], (rows.time_ms[listed] - uploaded_ms) / 1000
    )


def test_history_counts_equal_brute_force(kept):
    """A report splits by it: older events count, those of the same moment or later do not."""
    split = kept[2]
    seen = split.impressions
    rows, _ = read_evaluation(kept[0])
    for at in range(0, len(rows.viewer_ids), 25):
        mine = (seen.viewer_ids == rows.viewer_ids[at] + 1) & seen.in_history
        assert rows.history_count[at] == (mine & (seen.known_at_ms < rows.time_ms[at])).sum()
    first = np.array([seen.viewer_ids[0]])
    known = seen.known_at_ms[(seen.viewer_ids == first) & seen.in_history].max()
    before, after = (known_events(seen, first, np.array([t])) for t in (known, known + 1))
    assert after == before + 1


def test_statics_give_unknown_for_what_is_not_listed(tmp_path):
    """A set without feature files is evaluated all the same."""
    statics = load_statics(tmp_path)
    rows = statics.videos(np.array([1, 2]))
    assert np.isnan(padded(statics.duration_seconds, rows)).all()
    assert not padded(statics.tags, rows).any()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "evaluation.json").unlink(), "evaluation.json is missing"),
        (lambda path: (path / "evaluation.json").write_text("{"), "cannot be read"),
        (
            lambda path: pq.write_table(pa.table({"a": [1]}), path / "evaluation.parquet"),
            "format version none",
        ),
    ],
)
def test_a_damaged_evaluation_is_named(kept, tmp_path, damage, message):
    """A report of half an evaluation would look like a whole one."""
    for name in ("evaluation.json", "evaluation.parquet"):
        (tmp_path / name).write_bytes((kept[0] / name).read_bytes())
    read_evaluation(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        read_evaluation(tmp_path)
