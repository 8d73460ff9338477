"""How a gRPC channel of the suite balances over replicas: its target and its options.

Knows grpc's option names and nothing else, so that the Python client may use it with grpcio alone.
A channel holds a connection to every address of its target and takes them in turn. Each replica's
health service is watched: one that says NOT_SERVING gets no call. A call that a replica could not
answer because it went away is sent to another one, within the call's own deadline.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

Options = list[tuple[str, str | int]]

ATTEMPTS_MAX = 3  # the first, one for the replica that died, one for the next of a rolling restart
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.01, 0.1  # a retry must fit into a budget of some 400 ms
# Retries stop while more than one call in three fails: an outage is not made worse by repeating.
RETRY_TOKENS_MAX, RETRY_TOKENS_A_SUCCESS = 200, 0.5
RECONNECT_MS_MIN, RECONNECT_MS_MAX = 100, 1_000  # feeds recover soon after a service returns
CONNECT_MS_MAX = 1_000  # for one attempt to connect; default 20 s
RESOLVE_MS_MIN = 1_000  # a name is looked up again as soon as a replica is lost; default 30 s
KEEPALIVE_MS = 5_000  # notices a peer that hangs or vanished without a word
KEEPALIVE_TIMEOUT_MS = 3_000
# CANCELLED: what a Python server says to calls that arrive in the instant it stops.
RETRIED = ("UNAVAILABLE", "CANCELLED")
SEPARATOR = ","


def target_of(address: str) -> str:
    """The gRPC target of one replica ("host:port") or several ("10.0.0.1:1,10.0.0.2:1").

    Anything with a scheme (``dns:///thunder:50052``, ``ipv4:…``, ``unix:path``) is one already.
    ValueError for a list that names hosts: gRPC takes several addresses only as numbers.
    """
    parts = [part.strip() for part in address.split(SEPARATOR)]
    if len(parts) == 1 or parts[0].split(":", 1)[0] in ("ipv4", "ipv6"):
        return address
    numbers = [_number(part, address) for part in parts]
    versions = {ipaddress.ip_address(host).version for host, _ in numbers}
    if len(versions) > 1:
        raise ValueError(f"{address!r} mixes IPv4 and IPv6: gRPC wants one kind in a list")
    (version,) = versions
    joined = SEPARATOR.join(f"[{h}]:{p}" if version == 6 else f"{h}:{p}" for h, p in numbers)
    return f"ipv{version}:{joined}"


def channel_options(service: str, *, message_bytes_max: int) -> Options:
    """Of a channel whose calls only read, or may be repeated like reads.

    ``service``: the name in ``grpc.health.v1`` that each replica is watched under; "" is its
    process as a whole. Replicas without a health service count as serving.
    """
    return [
        ("grpc.service_config", json.dumps(service_config(service))),
        ("grpc.enable_retries", 1),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_MIN),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS_MAX),  # despite its name
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
        ("grpc.dns_min_time_between_resolutions_ms", RESOLVE_MS_MIN),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),  # its default, a minute, would win
        ("grpc.http2.max_pings_without_data", 0),  # or a quiet connection is asked once a minute
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
    ]


def service_config(service: str) -> dict[str, Any]:
    """gRPC's service config: turns, health, retries."""
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": service},
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": ATTEMPTS_MAX,
                    "initialBackoff": f"{BACKOFF_S_MIN}s",
                    "maxBackoff": f"{BACKOFF_S_MAX}s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": RETRIED,
                },
            }
        ],
        "retryThrottling": {"maxTokens": RETRY_TOKENS_MAX, "tokenRatio": RETRY_TOKENS_A_SUCCESS},
    }


def _number(part: str, address: str) -> tuple[str, str]:
    """Host and port; "localhost" is a number too."""
    host, _, port = part.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"{part!r} in {address!r}: expected an IP address and a port; several replicas behind "
            "one name are written dns:///name:port"
        ) from None
    return host, port
