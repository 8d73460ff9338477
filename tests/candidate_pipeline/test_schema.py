"""A schema that teaches what is wrong with a column before a request meets it."""

import numpy as np
import pytest

from candidate_pipeline import Column, ColumnError, Schema, WiringError


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(WiringError, match="two columns called 'id'"):
        Schema([Column("id", np.int64, 0), Column("id", np.uint64, 0)])


@pytest.mark.parametrize("default", [[], {}, set()])
def test_a_mutable_default_would_be_shared_by_all_rows_and_is_refused(default: object) -> None:
    with pytest.raises(WiringError, match="mutable default"):
        Column("tags", object, default)


def test_a_default_that_does_not_fit_is_refused() -> None:
    with pytest.raises(WiringError, match="does not fit uint64"):
        Column("id", np.uint64, -1)


def test_fixed_width_strings_are_refused_because_they_cut_text() -> None:
    with pytest.raises(WiringError, match="object"):
        Column("text", "U10", "")


def test_an_unknown_column_names_those_that_exist() -> None:
    with pytest.raises(ColumnError, match="no column 'autor' in the schema; it has id, author"):
        Schema([Column("id", np.int64, 0), Column("author", np.int64, 0)])["autor"]


def test_tuples_and_none_are_defaults_of_object_columns() -> None:
    assert Column("tags", object, ()).filled(2).tolist() == [(), ()]
    assert Column("text", object, None).filled(2).tolist() == [None, None]


def test_a_sequence_of_tuples_stays_one_tuple_a_row() -> None:
    column = Column("tags", object, ())
    assert column.coerce([(1, 2), (3, 4)]).tolist() == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(2), "wants int64, got float64.*astype"),
        (np.zeros((2, 1), np.int64), r"got shape \(2, 1\)"),
        ([1, "two"], "got 'two' in row 1"),
        ("abc", "got str"),
        (7, "got int"),
    ],
)
def test_values_that_do_not_fit_say_what_came_and_what_fits(values: object, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        Column("count", np.int64, 0).coerce(values)


def test_narrower_values_are_widened() -> None:
    widened = Column("count", np.int64, 0).coerce(np.array([1, 2], np.int8))
    assert widened.dtype == np.int64
    assert widened.tolist() == [1, 2]
