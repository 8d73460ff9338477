"""`foryou health ADDRESS`: is a service up? For containers, scripts and people."""

from __future__ import annotations

from typing import Annotated

import typer

from foryou.errors import CommandError, UsageError

EXAMPLES = (
    "Examples: `foryou health 127.0.0.1:50051` · "
    "`foryou health 127.0.0.1:50053 --service foryou.phoenix.v1.PredictionService`. "
    "Exit codes: 0 healthy, 1 not, 2 called wrongly."
)
ADDRESS_VARIABLE = "FORYOU_HEALTH_ADDRESS"  # for an image whose health check has no arguments
TIMEOUT_SECONDS = 5.0  # a busy machine is not a dead one


def health(
    address: Annotated[
        str, typer.Argument(help="host:port, or another gRPC target.", envvar=ADDRESS_VARIABLE)
    ],
    service: Annotated[
        str, typer.Option(help="Full name of one gRPC service. [default: the whole process]")
    ] = "",
    alive: Annotated[
        bool,
        typer.Option("--alive", help="Ask only that it answers, though it may not serve yet."),
    ] = False,
    timeout_seconds: Annotated[
        float, typer.Option(help="How long to wait for the answer.", min=0.1, max=600)
    ] = TIMEOUT_SECONDS,
) -> None:
    """Ask a service's health (grpc.health.v1) and say it by exit code."""
    if ":" not in address:
        raise UsageError(f"ADDRESS is {address!r}, expected host:port, such as 127.0.0.1:50051")
    status = _status(address, service, timeout_seconds)
    asked = f"{service} at {address}" if service else address
    if status != "SERVING" and not alive:
        raise CommandError(
            f"{asked} is {status}, expected SERVING; /readyz of its metrics port says why"
        )
    print(f"{asked} is {status}")


def _status(address: str, service: str, timeout_s: float) -> str:
    """Name of the health protocol's status; CommandError where there is no answer."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    request = health_pb2.HealthCheckRequest(service=service)
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise CommandError(
                    f"{address} has no service {service!r}; `--service` takes a full name such as "
                    "foryou.thunder.v1.InNetworkPostsService"
                ) from error
            raise CommandError(
                f"no answer from {address} within {timeout_s:g} s: {error.details()}"
            ) from error
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
