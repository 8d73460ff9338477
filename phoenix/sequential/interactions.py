"""Interactions of users with items, in order, and the files that they are read from.

    leave-one-out   `user item` a line; a user's lines are in order of time, users may interleave
    split           `user item item …` a line, one line a user

Ids are any tokens without white space. Inside, items are 1 … V in order of first appearance and 0
is padding.

Glossary: U users, V items, N interactions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Items = NDArray[np.int32]


class InteractionsError(ValueError):
    """A file that is not what was expected; the message says where and how to mend it."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Ragged rows: the items of U users, oldest first."""

    items: Items  # [N], 1 … V
    offsets: NDArray[np.int64]  # [U + 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> Items:
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def __iter__(self) -> Iterator[Items]:
        return (self[user] for user in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def shuffled(self) -> Sequences:
        """Each row in a random order, always the same: what is near by accident says nothing."""
        rng = np.random.default_rng(len(self.items))
        return Sequences.of([rng.permutation(row) for row in self])

    @classmethod
    def of(cls, rows: Sequence[Items] | Sequence[list[int]]) -> Sequences:
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        flat = [np.asarray(row, np.int32) for row in rows] or [np.zeros(0, np.int32)]
        return cls(np.concatenate(flat), offsets)


@dataclass(frozen=True, slots=True)
class Interactions:
    """A data set: sequences, and what users and items are called in the file."""

    sequences: Sequences
    user_ids: list[str]  # [U]
    item_ids: list[str]  # [V]; item i is item_ids[i - 1]

    @property
    def num_items(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class SplitInteractions:
    """Training rows and, for the same users, test items (none for most users of no test line)."""

    train: Interactions
    test: Sequences
    users_without_training: int  # test users that no training line names; their history is empty


def read_interactions(path: Path) -> Interactions:
    """Read `user item` lines. InteractionsError: a malformed line, an empty file, one user."""
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    user_of, item_of = [], []
    for number, line in _lines(path):
        tokens = line.split()
        if len(tokens) != 2:
            raise InteractionsError(
                f"{path}, line {number}: expected `user item`, found {len(tokens)} tokens in "
                f"{_shown(line)}; remove further columns, or use --protocol split"
            )
        user_of.append(users.setdefault(tokens[0], len(users)))
        item_of.append(items.setdefault(tokens[1], len(items) + 1))
    _require_several(path, len(users), len(items))
    row = np.asarray(user_of, np.int64)
    order = np.argsort(row, kind="stable")
    offsets = np.zeros(len(users) + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=len(users)), out=offsets[1:])
    sequences = Sequences(np.asarray(item_of, np.int32)[order], offsets)
    return Interactions(sequences, list(users), list(items))


def read_split(train_path: Path, test_path: Path) -> SplitInteractions:
    """Read `user item item …` lines of both files. InteractionsError: what is wrong and where."""
    items: dict[str, int] = {}
    train = _read_rows(train_path, items)
    test = _read_rows(test_path, items)
    strangers = [user for user in test if user not in train]
    users = [*train, *strangers]
    _require_several(train_path, len(users), len(items))
    if not any(len(row) for row in test.values()):
        raise InteractionsError(f"{test_path}: no user has a test item")
    sequences = Sequences.of([train.get(user, []) for user in users])
    return SplitInteractions(
        Interactions(sequences, users, list(items)),
        Sequences.of([test.get(user, []) for user in users]),
        sum(1 for user in strangers if test[user]),
    )


def typed_ids(ids: Sequence[str]) -> NDArray[np.int64] | list[str]:
    """64-bit integers where every id is the plain decimal of one; else the strings themselves."""
    try:
        numbers = np.array([int(text) for text in ids], np.int64)
    except (ValueError, OverflowError):
        return list(ids)
    plain = all(str(number) == text for number, text in zip(numbers.tolist(), ids, strict=True))
    return numbers if plain else list(ids)


def _read_rows(path: Path, items: dict[str, int]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for number, line in _lines(path):
        user, *names = line.split()
        if user in rows:
            raise InteractionsError(
                f"{path}, line {number}: user {user} has a line already; expected one line a user, "
                "`user item item …` (for `user item` lines use --protocol leave-one-out)"
            )
        rows[user] = [items.setdefault(name, len(items) + 1) for name in dict.fromkeys(names)]
    if not rows:
        raise InteractionsError(f"{path} is empty; expected lines of `user item item …`")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that hold anything, numbered from 1."""
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    yield number, line
        except UnicodeDecodeError as error:
            raise InteractionsError(
                f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); expected lines "
                "of ids"
            ) from error


def _require_several(path: Path, users: int, items: int) -> None:
    if users == 0:
        raise InteractionsError(f"{path} is empty; expected lines of `user item`")
    if users == 1 or items == 1:
        raise InteractionsError(
            f"{path} holds {users} user(s) and {items} item(s); at least two of each are needed"
        )


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
