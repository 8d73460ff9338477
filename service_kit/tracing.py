"""OpenTelemetry traces: spans cost next to nothing until ``OTEL_*`` asks for an export.

``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``…_TRACES_ENDPOINT``) turns the export on;
``OTEL_SDK_DISABLED=true`` and ``OTEL_TRACES_EXPORTER=none`` turn it off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def tracer(name: str) -> trace.Tracer:
    """The tracer for one module; a no-op until ``configure_tracing`` installed an export."""
    return trace.get_tracer(name)


def export_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the standard variables ask for an export."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return False
    return any(environment.get(name) for name in ENDPOINT_VARIABLES)


def configure_tracing(service: str) -> Callable[[], None]:
    """Starts the export if it is wanted; returns what flushes and stops it."""
    if not export_wanted():
        return lambda: None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """gRPC metadata that carries the current span to the callee."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


def incoming_context(metadata: Iterable[tuple[str, str | bytes]] | None) -> Context:
    """The caller's span out of gRPC metadata, as the parent for ``start_as_current_span``."""
    return propagate.extract({k: v for k, v in metadata or () if isinstance(v, str)})
