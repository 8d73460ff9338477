"""Peers in C and Rust: one source file each, compiled into a cache, called through ctypes.

A machine without the compiler measures without that peer; the report says so.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.store.workload import Request, World

HERE: Final = Path(__file__).parent
RESULTS_MAX: Final = 10_000
COMMANDS: Final = {
    "floor.c": ("gcc", "-O3", "-march=native", "-shared", "-fPIC", "-std=gnu11"),
    "rust_peer.rs": ("rustc", "-O", "-C", "target-cpu=native", "--crate-type", "cdylib"),
}


class NativeStore:
    """A peer's store. Both export store_new, store_query, store_delete and store_free."""

    def __init__(self, source_name: str, world: World) -> None:
        self._library = ctypes.CDLL(str(build(source_name)))
        self._library.store_new.restype = ctypes.c_void_p
        self._library.store_query.restype = ctypes.c_int64
        posts, flags = world.posts, world.flags
        authors = ctypes.c_int64(world.author_ids.size)
        self._store = ctypes.c_void_p(
            self._library.store_new(_at(posts), _at(flags), ctypes.c_int64(posts.size), authors)
        )
        dead = np.ascontiguousarray(posts["post_id"][world.dead])
        self._library.store_delete(self._store, _at(dead), ctypes.c_int64(dead.size))
        self._found = np.zeros(RESULTS_MAX, np.uint64)
        self._rows = np.zeros(RESULTS_MAX, posts.dtype)

    def query(self, request: Request, results_max: int) -> NDArray[np.uint64]:
        """Post ids, newest first."""
        following, excluded = request.following_ids, request.excluded_ids
        found = self._library.store_query(
            self._store,
            ctypes.c_uint64(request.viewer_id),
            _at(following),
            ctypes.c_int64(following.size),
            _at(excluded),
            ctypes.c_int64(excluded.size),
            ctypes.c_int64(results_max),
            _at(self._found),
            _at(self._rows),
        )
        return self._found[:found]

    def close(self) -> None:
        self._library.store_free(self._store)


def compiler_for(source_name: str) -> str | None:
    """Path of the compiler that a source needs, None where there is none."""
    return shutil.which(COMMANDS[source_name][0])


def build(source_name: str) -> Path:
    """The shared library, compiled where the cache has none of this source and command.

    RuntimeError with the compiler's words where it fails."""
    source, command = HERE / source_name, COMMANDS[source_name]
    digest = hashlib.sha256(source.read_bytes() + " ".join(command).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "foryou-benchmarks"
    library = cache / f"{source.stem}-{digest}.so"
    if library.exists():
        return library
    cache.mkdir(parents=True, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [*command, str(source), "-o", str(partial)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} refused {source_name}: {done.stderr.strip()}")
    partial.replace(library)
    return library


def _at(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
