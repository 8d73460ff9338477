"""The lazy table must be indistinguishable from a list of dicts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candidate_pipeline import CandidateTable, Column, ColumnError, Schema

SCHEMA = Schema(
    [
        Column("id", np.int64, 0),
        Column("x", np.float64, 0.5),
        Column("tags", object, ()),
        Column("ok", np.bool_, False),
    ]
)


def table_of(*ids: int) -> CandidateTable:
    return CandidateTable.from_columns(SCHEMA, {"id": np.array(ids, np.int64)})


@st.composite
def _programs(draw: st.DrawFn) -> list[tuple[str, Any]]:
    steps = st.one_of(
        st.tuples(st.just("take"), st.lists(st.integers(0, 10**6), max_size=8)),
        st.tuples(st.just("mask"), st.integers(0, 2**16)),
        st.tuples(st.sampled_from(["x", "tags", "id"]), st.integers(0, 9)),
        st.tuples(st.just("read"), st.sampled_from(SCHEMA.names)),
        st.tuples(st.just("double"), st.none()),
    )
    return draw(st.lists(steps, max_size=12))


@given(st.lists(st.integers(0, 99), max_size=6), _programs())
def test_any_sequence_of_operations_equals_rows_of_dicts(
    ids: list[int], program: list[tuple[str, Any]]
) -> None:
    """A laziness bug would show another candidate's text under a candidate's id."""
    table = table_of(*ids)
    rows = [{"id": one, "x": 0.5, "tags": (), "ok": False} for one in ids]
    for step, value in program:
        n = len(rows)
        if step == "take":
            index = [one % n for one in value] if n else []
            table, rows = table.take(index), [rows[i] for i in index]
        elif step == "mask":
            mask = np.array([bool(value >> i & 1) for i in range(n)], np.bool_)
            table = table.take(mask)
            rows = [row for row, keeps in zip(rows, mask, strict=True) if keeps]
        elif step == "double":
            table = CandidateTable.concat([table, table])
            rows = rows + rows
        elif step == "read":
            assert table[value].tolist() == [row[value] for row in rows]
        else:
            made = [(value, i) if step == "tags" else value + i for i in range(n)]
            table = table.with_columns({step: made})
            rows = [{**row, step: one} for row, one in zip(rows, made, strict=True)]
    assert table.rows() == rows
    assert table.compact().rows() == rows


def test_columns_are_read_only_so_that_no_component_changes_anothers() -> None:
    table = table_of(1, 2).with_columns({"x": np.array([1.0, 2.0])})
    for one in (table, table.take([1, 0]), CandidateTable.concat([table, table])):
        for name in SCHEMA.names:
            with pytest.raises(ValueError, match="read-only"):
                one[name][0] = one[name][1]


def test_with_columns_leaves_the_first_table_as_it_was() -> None:
    first = table_of(1, 2)
    first.with_columns({"x": np.array([7.0, 8.0])})
    assert first["x"].tolist() == [0.5, 0.5]


def test_a_column_of_another_length_is_refused_with_both_lengths() -> None:
    with pytest.raises(ColumnError, match="2 rows; 'x' has 3"):
        table_of(1, 2).with_columns({"x": np.zeros(3)})
    with pytest.raises(ColumnError, match="'x' has 1"):
        CandidateTable.from_columns(SCHEMA, {"id": np.arange(2), "x": np.zeros(1)})


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (np.array([True]), r"mask for this table has shape \(2,\), got \(1,\)"),
        ([2], "row numbers from 0 to 1, got 2 to 2"),
        ([-1], "got -1 to -1"),
        (np.array([0.5]), "got float64"),
    ],
)
def test_take_refuses_rows_that_do_not_exist(which: Any, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        table_of(1, 2).take(which)


def test_concat_refuses_nothing_and_mixed_schemas() -> None:
    other = CandidateTable.from_columns(Schema([Column("id", np.int64, 0)]), {"id": [1]})
    with pytest.raises(ColumnError, match="one Schema object"):
        CandidateTable.concat([table_of(1), other])
    with pytest.raises(ColumnError, match="at least one"):
        CandidateTable.concat([])


def test_an_empty_table_has_every_column() -> None:
    empty = CandidateTable.from_columns(SCHEMA, {}, n=0)
    assert {name: len(empty[name]) for name in SCHEMA.names} == dict.fromkeys(SCHEMA.names, 0)
