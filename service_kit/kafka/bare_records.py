"""Lets Kafka's client hand over records as its C code parsed them.

`getmany` copies each into an object of eleven fields, which takes longer than all the rest of a
fetch (1.2 of 2.0 µs a record, 2026-11-22). Its C records have the four fields that
we read (`record_batch.Row`), so the copy is left out where the client's inside looks as it did;
where it does not, records come copied and all else is the same.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


def leave_records_bare(client: Any) -> None:
    """Call it once ``client`` has started and before anything is fetched."""
    fetcher: Any = getattr(client, "_fetcher", None)
    if type(getattr(fetcher, "_records", None)) is OrderedDict:
        fetcher._records = _Arrivals(fetcher._records)


class _Arrivals(OrderedDict[Any, Any]):
    """By partition what was fetched and not handed over yet."""

    def __setitem__(self, at: Any, fetched: Any) -> None:
        records: Any = getattr(fetched, "_partition_records", None)  # an error has none
        if hasattr(records, "_consumer_record"):
            records._consumer_record = _as_it_is
        super().__setitem__(at, fetched)


def _as_it_is(_: Any, record: Any) -> Any:
    return record
