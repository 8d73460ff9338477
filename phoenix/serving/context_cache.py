"""Least recently used encodings, so that a request's second call and the next page skip encoding.

The key holds the model's version and a digest of everything that the encoding depends on, so an
entry can never be stale; it can only be forgotten.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")
Key = tuple[str, bytes]  # model version, digest of the context's inputs


class ContextCache(Generic[V]):
    """A bounded map. One thread only: the worker that encodes."""

    def __init__(self, entries_max: int) -> None:
        self._entries: OrderedDict[Key, V] = OrderedDict()
        self._entries_max = entries_max

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> V | None:
        """The encoding, or None."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: Key, value: V) -> None:
        """Remembers an encoding and forgets the least recently used past the limit."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
