"""The parameters in force, and their reload when the operator edits the file.

A request takes ``current`` once and keeps it. ``reload_if_changed`` is called by the server's
timer; a file that does not parse leaves the old table in force, and ``error`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from home_mixer.params.loading import load_params
from home_mixer.params.ranking_params import RankingParams
from service_kit.ranking_weights import DEFAULT_TABLE

_Stamp = tuple[int, int]  # modification time in ns, size in bytes


class ParamsStore:
    """ValueError from the constructor when the table is bad: a service must not start with it."""

    def __init__(
        self,
        name_or_path: str | Path = DEFAULT_TABLE,
        overrides: Mapping[str, object] | None = None,
    ) -> None:
        self._source = name_or_path
        self._overrides = dict(overrides or {})
        self._stamp = self._read_stamp()
        self.current: RankingParams = load_params(name_or_path, self._overrides)
        self.error: str | None = None  # why the last reload was refused
        self.reloads = 0
        self.failed_reloads = 0

    def reload_if_changed(self) -> bool:
        """Read the file again if it changed. True: other parameters are in force now."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            loaded = load_params(self._source, self._overrides)
        except ValueError as error:
            self.error = str(error)
            self.failed_reloads += 1
            return False
        self.error = None
        self.reloads += 1
        changed = loaded.params_hash != self.current.params_hash
        self.current = loaded
        return changed

    def _read_stamp(self) -> _Stamp | None:
        try:
            status = Path(self._source).stat()
        except OSError:  # a table's name, or a file that is gone: load_params says which
            return None
        return status.st_mtime_ns, status.st_size
