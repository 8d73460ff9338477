"""Follows a directory of checkpoints and puts the newest good version into service.

A version is loaded beside the running one, compiled (not at all where the configuration is the
same), checked, and swapped by one assignment, so no request is dropped: those that have begun
finish on the model they began with. A version that fails is refused once and for all; the newest
version that was not refused serves, so deleting a version's directory rolls back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from phoenix.checkpoint import CONFIG_FILE, VERSION_PATTERN
from phoenix.serving.telemetry import Telemetry
from service_kit.clock import Clock
from service_kit.interpreter import named_pool

logger = logging.getLogger(__name__)

LOADING_THREAD = "phoenix-load"


class Model(Protocol):
    """What the watcher needs to know of a model."""

    @property
    def version(self) -> str: ...


M = TypeVar("M", bound=Model)
Load = Callable[[Path, M | None], M]  # blocks; raises for a checkpoint that must not serve
Install = Callable[[M], Awaitable[None]]  # returns once the model serves


class CheckpointWatcher(Generic[M]):
    """One kind of model ("ranker", "retrieval")."""

    def __init__(
        self,
        kind: str,
        directory: Path,
        load: Load[M],
        install: Install[M],
        telemetry: Telemetry,
        clock: Clock,
        *,
        poll_seconds: float,
    ) -> None:
        self._kind = kind
        self._directory = directory
        self._load = load
        self._install = install
        self._telemetry = telemetry
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._running: M | None = None
        self._path: Path | None = None
        self._refused: set[Path] = set()
        self.problem = ""  # what was wrong with the last version that was refused
        telemetry.model_loaded.labels(kind).set(0)

    @property
    def running(self) -> M | None:
        """The model in service."""
        return self._running

    async def run(self) -> None:
        """Looks for ever; cancel to stop."""
        while True:
            await self.check_once()
            await asyncio.sleep(self._poll_seconds)

    async def check_once(self) -> bool:
        """Puts the newest version that was not refused into service; whether that was a change."""
        try:
            path = await asyncio.to_thread(self._newest)
            if path is None or path == self._path:
                return False
            await self._swap(path)
        except Exception as error:  # noqa: BLE001 - counted and logged; the running model goes on
            self._note(error)
            return False
        return True

    async def _swap(self, path: Path) -> None:
        started_s = self._clock.monotonic_s()
        try:
            model = await self._loaded(path)
            await self._install(model)
        except OSError:
            raise  # the disk's fault, perhaps only now: the version is tried again
        except Exception:
            self._refused.add(path)
            raise
        before, self._running = self._running, model
        self._path, self.problem = path, ""
        seconds = self._clock.monotonic_s() - started_s
        self._telemetry.reloads.labels(self._kind).inc()
        self._telemetry.reload_seconds.labels(self._kind).observe(seconds)
        self._telemetry.model_loaded.labels(self._kind).set(1)
        if before is not None:
            self._telemetry.model_info.remove(self._kind, before.version)
        self._telemetry.model_info.labels(self._kind, model.version).set(1)
        logger.info(
            "model in service",
            extra={"model": self._kind, "model_version": model.version, "seconds": seconds},
        )

    async def _loaded(self, path: Path) -> M:
        """In a thread of its own, whose name XLA's own unnamed threads inherit: the first program
        that runs starts them."""
        pool = named_pool(1, LOADING_THREAD)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(pool, self._load, path, self._running)
        finally:
            pool.shutdown(wait=False)

    def _note(self, error: Exception) -> None:
        self.problem = f"{type(error).__name__}: {error}"
        self._telemetry.reloads_refused.labels(self._kind, type(error).__name__).inc()
        logger.error(
            "checkpoint refused, the model in service goes on",
            extra={
                "model": self._kind,
                "directory": str(self._directory),
                "reason": self.problem,
                "model_version": self._running.version if self._running else None,
            },
        )

    def _newest(self) -> Path | None:
        return next((p for p in versions(self._directory) if p not in self._refused), None)


def versions(directory: Path) -> list[Path]:
    """Complete versions below `directory`, newest first; itself where it is one version."""
    if (directory / CONFIG_FILE).is_file():
        return [directory]
    if not directory.is_dir():
        return []
    found = ((VERSION_PATTERN.match(path.name), path) for path in directory.iterdir())
    return [path for _, path in sorted(((int(m[1]), p) for m, p in found if m), reverse=True)]
