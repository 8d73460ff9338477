"""What files are read, and what a wrong one is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phoenix.sequential.interactions import (
    InteractionsError,
    read_interactions,
    read_split,
    typed_ids,
)
from phoenix.sequential.protocol import leave_one_out, split

Write = Callable[..., Path]


def test_a_users_order_is_that_of_its_lines_though_users_interleave(written: Write) -> None:
    """Else a file sorted by time and not by user would train on made-up orders."""
    data = read_interactions(written("b x\na y\nb z\n\na x\r\n"))
    named = [[data.item_ids[i - 1] for i in row] for row in data.sequences]
    assert dict(zip(data.user_ids, named, strict=True)) == {"b": ["x", "z"], "a": ["y", "x"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 2\n1 2 3\n", "line 2: expected `user item`, found 3 tokens in '1 2 3'"),
        ("1 2\n\n7\n", "line 3: expected `user item`, found 1 tokens"),
        ("", "is empty"),
        ("1 2\n1 3\n", "1 user"),
        ("1 2\n2 2\n", "1 item"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(written: Write, text: str, told: str) -> None:
    """Else a user would learn of a wrong file by a wrong figure."""
    with pytest.raises(InteractionsError, match=told):
        read_interactions(written(text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A Parquet file given by mistake must not end in a traceback."""
    path = tmp_path / "data.bin"
    path.write_bytes(b"1 2\n\xff\xfe\x00 3\n")
    with pytest.raises(InteractionsError, match="not UTF-8"):
        read_interactions(path)


def test_ids_keep_the_type_that_the_file_gave_them() -> None:
    """`007` is no 7: predictions could not be joined with the file otherwise."""
    assert np.asarray(typed_ids(["1", "20"])).dtype == np.int64
    assert typed_ids(["1", "007"]) == ["1", "007"]
    assert typed_ids(["1", "x"]) == ["1", "x"]
    assert typed_ids(["1", str(2**63)]) == ["1", str(2**63)]


def test_leave_one_out_takes_the_last_two_and_keeps_short_users_for_training(
    written: Write,
) -> None:
    """A test item in the training rows would make every figure too good."""
    protocol = leave_one_out(read_interactions(written("a 1\na 2\na 3\na 4\nb 1\nb 2\n")))
    item = protocol.interactions.item_ids.index
    rows = [list(row) for row in protocol.train]
    assert rows == [[item("1") + 1, item("2") + 1], [item("1") + 1, item("2") + 1]]
    assert [list(row) for row in protocol.validation.targets] == [[item("3") + 1], []]
    assert [list(row) for row in protocol.test.targets] == [[item("4") + 1], []]
    assert list(protocol.test.histories[0]) == [item(x) + 1 for x in "123"]
    assert protocol.facts["users_measured"] == 1
    assert protocol.facts["users_too_short"] == 1


def test_split_files_name_strangers_and_users_without_test_items(written: Write) -> None:
    """Left-out users must be counted: a mean over others is another figure."""
    train = written("a x y z\nb x y\nc z\n", "train.txt")
    test = written("a w\nb\nd x y\n", "test.txt")
    data = read_split(train, test)
    protocol = split(data, ordered=False)
    assert protocol.facts["test_users_without_training"] == 1
    assert protocol.facts["users_measured"] == 2  # a and d
    assert protocol.facts["users_without_test_items"] == 2  # b and c
    assert protocol.facts["items"] == 4
    kept, held = protocol.train[0], protocol.validation.targets[0]
    assert sorted([*kept, *held]) == [1, 2, 3]


def test_a_split_file_with_two_lines_of_a_user_is_refused(written: Write) -> None:
    """The other protocol's file must not be taken for users with one item each."""
    train = written("a x\na y\n", "train.txt")
    with pytest.raises(InteractionsError, match="line 2: user a has a line already"):
        read_split(train, written("a z\n", "test.txt"))
