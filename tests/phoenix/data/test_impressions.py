"""Impressions: sorted, checked, and the same after a way through Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phoenix.data.impressions import Impressions

COLUMNS = [n for n in Impressions.__dataclass_fields__ if n not in ("action_names", "catalogue")]


def assert_same(one, two):
    assert one.action_names == two.action_names
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_rows_are_sorted_by_viewer_and_time_keeping_given_order(make_impressions):
    """Batches assume the order; ties keep the order in which a file gives them."""
    impressions = make_impressions(1)
    keys = list(zip(impressions.viewer_ids, impressions.impressed_at_ms, strict=True))
    assert keys == sorted(keys)
    assert_same(impressions, make_impressions(1))


def test_parquet_gives_back_the_same_impressions(make_impressions, tmp_path):
    """Training from a file must equal training from memory."""
    path = tmp_path / "deep" / "impressions.parquet"
    impressions = make_impressions(2)
    known = np.ones(impressions.labels.shape, bool)
    known[1, 0] = False  # nobody recorded it: that is not "no"
    impressions = impressions.replace(labels_known=known)
    impressions.write_parquet(path)
    assert_same(Impressions.read_parquet(path), impressions)
    assert [p.name for p in path.parent.iterdir()] == ["impressions.parquet"]


def test_a_foreign_parquet_file_is_refused(tmp_path):
    """Somebody else's columns must not be read as ours."""
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ValueError, match="format version none"):
        Impressions.read_parquet(path)


def test_a_file_without_a_column_is_refused(make_impressions, tmp_path):
    """The message must name the column."""
    path = tmp_path / "x.parquet"
    make_impressions(2).write_parquet(path)
    pq.write_table(pq.read_table(path).drop_columns(["author_ids"]), path)
    with pytest.raises(ValueError, match="author_ids"):
        Impressions.read_parquet(path)


@pytest.mark.parametrize("content", [b"", b"not parquet at all"])
def test_an_unreadable_file_is_named(tmp_path, content):
    """A truncated file is the usual accident."""
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.parquet is no readable Parquet"):
        Impressions.read_parquet(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("author_ids", np.zeros(3), "author_ids has shape"),
        ("labels", np.zeros((60, 2)), "labels has shape"),
        ("labels", np.full((60, 3), 0.5), "labels must be 0 or 1"),
        ("viewer_ids", np.zeros(60), "viewer_ids holds 0"),
        ("post_ids", np.zeros(60), "post_ids holds 0"),
        ("weight", np.full(60, -1.0), "weight must be finite"),
        ("dwell_seconds", np.full(60, -1.0), "dwell_seconds must be finite"),
        ("dwell_seconds", np.full(60, np.inf), "dwell_seconds must be finite"),
    ],
)
def test_bad_columns_are_refused(make_impressions, column, value, message):
    """Padding ids, soft labels and ragged columns must fail here, not in a training step."""
    with pytest.raises(ValueError, match=message):
        make_impressions(0, **{column: value})


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    """A typing error in a path is no damaged file."""
    with pytest.raises(ValueError, match=r"none\.parquet is no file"):
        Impressions.read_parquet(tmp_path / "none.parquet")


def test_concat_and_take_keep_everything(make_impressions):
    """Two days' files become one training set."""
    both = Impressions.concat([make_impressions(1), make_impressions(2)])
    assert len(both) == 120
    assert_same(both.take(np.arange(120)), both)
    assert len(Impressions.concat([Impressions.empty(both.action_names), both])) == 120


def test_concat_of_two_action_lists_is_refused(make_impressions):
    """A label column must never change its meaning half-way."""
    with pytest.raises(ValueError, match="one action list"):
        Impressions.concat([make_impressions(1), Impressions.empty(("favorite",))])


def test_columns_are_read_only(make_impressions):
    """Shared arrays that somebody changes are the hardest bug to find."""
    with pytest.raises(ValueError, match="read-only"):
        make_impressions(1).labels[0] = 1
