"""The log of changed posts: what a reader that remembers rows must forget before it uses them.

Every transaction of a writer adds one entry, also where it changed nothing: its key is the number
of the transaction, its value the ids of the posts whose rows it replaced or deleted, 8 bytes each.
A row that was not there before needs no entry, for nobody remembers what is not there.

LMDB numbers transactions without gaps. So a reader has seen every change exactly when it finds as
many entries as there were transactions; where one is missing (cut off at the log's length, or
written by an older version that keeps no log) it must forget everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from home_mixer.clients.keys import id_key
from home_mixer.clients.lmdb_directory import Transaction
from home_mixer.clients.protocols import Ids

CHANGES: Final = "changes"
ENTRIES_MAX: Final = 8_192  # minutes of an ingester's transactions
CUT_PER_WRITE_MAX: Final = 2  # more than one is added, so a log that was too long gets shorter


def log_changes(txn: Transaction, changed: Sequence[int]) -> None:
    """Adds the entry of this transaction; once, before it is committed."""
    number = txn.number()
    txn.put(CHANGES, id_key(number), np.array(changed, "<u8").tobytes())
    cursor = txn.cursor(CHANGES)
    oldest = id_key(max(0, number - ENTRIES_MAX))
    for _ in range(CUT_PER_WRITE_MAX):
        if cursor.first() and cursor.key() <= oldest:
            cursor.delete()


def changed_since(txn: Transaction, seen: int) -> Ids | None:
    """Ids of posts changed by transactions after ``seen``, up to this one's snapshot.

    None: that is not known; any post may have changed.
    """
    missing = txn.number() - seen
    if missing <= 0:
        return np.empty(0, np.uint64)
    if missing > ENTRIES_MAX:
        return None
    cursor = txn.cursor(CHANGES)
    if not cursor.set_range(id_key(seen + 1)):
        return None
    entries = [bytes(ids) for ids in cursor.iternext(keys=False)]
    return np.frombuffer(b"".join(entries), "<u8") if len(entries) == missing else None
