"""glibc's memory settings that halve a training step on a CPU, by starting the process once more.

XLA on CPU allocates every temporary anew. Above 32 MB glibc maps each from the kernel and returns
it at once, so that a step of large activations spends half of its time on page faults. The
settings keep freed memory in the process, in huge pages. glibc reads them before `main`, hence a
second start of the same command in the same process; nothing that it starts inherits them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from importlib.util import find_spec
from pathlib import Path

GUARD = "FORYOU_TUNED_MALLOC"  # names what was set, for the second start to take away
PROGRAMS = ("foryou", "foryou.cli")  # the script, and what follows python -m
SETTINGS = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # transparent huge pages
    "MALLOC_MMAP_MAX_": "0",  # no allocation of its own mapping
    "MALLOC_TRIM_THRESHOLD_": "8000000000",  # bytes: freed memory stays
    "MALLOC_TOP_PAD_": "500000000",  # bytes: the heap grows in steps of it
}


def start_again_tuned(
    environment: MutableMapping[str, str] = os.environ,
    command: Sequence[str] = tuple(sys.orig_argv),
    execve: Callable[[str, list[str], dict[str, str]], object] = os.execve,
) -> None:
    """Start the `foryou` command again with SETTINGS, where they apply and are not set yet."""
    if GUARD in environment:
        for name in environment.pop(GUARD).split(","):
            environment.pop(name, None)
        return
    missing = {name: value for name, value in SETTINGS.items() if name not in environment}
    if not missing or not applies(environment, command):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    execve(sys.executable, list(command), {**environment, **missing, GUARD: ",".join(missing)})


def applies(environment: MutableMapping[str, str], command: Sequence[str]) -> bool:
    """On Linux with glibc, without an accelerator's plug-in, and only as the command itself."""
    if not sys.platform.startswith("linux") or not _glibc():
        return False
    on_cpu = environment.get("JAX_PLATFORMS") == "cpu" or not _accelerator()
    return on_cpu and any(Path(part).name in PROGRAMS for part in command[1:3])


def _glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return False


def _accelerator() -> bool:
    return find_spec("jax_plugins") is not None
