"""What Redis refuses, in words: what happened, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from redis import exceptions

from home_mixer.clients.protocols import StoreError, StoreFullError

_REFUSALS = {
    "OOM": "its memory is full: raise maxmemory, or shorten INGESTER__POST_RETENTION_HOURS",
    "MISCONF": "it cannot save to its disk: see its log, and free some space",
    "NOREPLICAS": "too few replicas follow it (min-replicas-to-write): bring them back",
    "READONLY": "it is a read-only replica: point REDIS_URL to the primary",
    "CLUSTERDOWN": "a part of the cluster is down: see CLUSTER INFO and CLUSTER NODES",
    "LOADING": "it is still loading its data",
    "WRONGTYPE": "a key holds something else: give each program a REDIS_KEY_PREFIX of its own",
    "NOAUTH": "it wants a password: put it into REDIS_URL",
    "WRONGPASS": "it does not take the password of REDIS_URL",
    "NOPERM": "the user of REDIS_URL may not do this: see ACL LOG",
}
_OLD_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.NoPermissionError, "NOPERM"),
)  # redis-py takes the code out of these messages


def place_of(url: str) -> str:
    """host:port of a URL, without its password."""
    parts = urlsplit(url)
    return f"Redis at {parts.hostname or parts.path}:{parts.port or 6379}"


def store_error(place: str, error: BaseException) -> StoreError:
    """The `StoreError` that says what ``error`` means."""
    if isinstance(error, StoreError):
        return error
    code = refusal_of(error)
    if code == "OOM":
        return StoreFullError(f"{place} refuses: {_REFUSALS[code]}")
    if code:
        return StoreError(f"{place} refuses: {_REFUSALS[code]}")
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return StoreError(f"{place} did not answer in time")
    if isinstance(error, (exceptions.RedisClusterException, OSError, exceptions.ConnectionError)):
        return StoreError(f"{place} cannot be reached; is REDIS_URL right and is it up? ({error})")
    return StoreError(f"{place}: {type(error).__name__}: {error}")


def refusal_of(error: BaseException) -> str:
    """The code of a refusal that Redis words itself, or ""."""
    for kind, code in _OLD_CLASSES:
        if isinstance(error, kind):
            return code
    first = str(error).split(" ", 1)[0].rstrip(":")
    return first if first in _REFUSALS and isinstance(error, exceptions.ResponseError) else ""


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turns everything that the library raises into a `StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except (exceptions.RedisError, OSError, TimeoutError) as error:
        raise store_error(place, error) from error
