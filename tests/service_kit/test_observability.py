"""Logs are JSON with the request's id, metrics carry the prefix, traces cost nothing unasked."""

from __future__ import annotations

import io
import json
import logging

import pytest

from service_kit.logs import JsonFormatter, request_id
from service_kit.metrics import Metrics
from service_kit.tracing import configure_tracing, export_wanted, outgoing_metadata, tracer


def test_a_log_line_is_one_json_object_with_its_request() -> None:
    stream = io.StringIO()
    logger = logging.Logger("test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("kit"))
    logger.addHandler(handler)
    token = request_id.set("r-1")
    try:
        raise ValueError("no\nway")
    except ValueError:
        logger.exception("failed %d times", 2, extra={"attempt": 2})
    finally:
        request_id.reset(token)
    line = json.loads(stream.getvalue())
    assert line["message"] == "failed 2 times"
    assert (line["service"], line["level"], line["request_id"]) == ("kit", "error", "r-1")
    assert line["attempt"] == 2
    assert "ValueError" in line["error"]


def test_metrics_carry_their_services_prefix_and_do_not_collide() -> None:
    for _ in range(2):
        metrics = Metrics("home-mixer")
        metrics.counter("requests_total", "Requests").inc(3)
        assert metrics.value("requests_total") == 3
        assert b"foryou_home_mixer_requests_total 3.0" in metrics.exposition()
    with pytest.raises(ValueError, match="expected lower-case"):
        Metrics("Home Mixer")


def test_traces_are_exported_only_where_the_environment_asks() -> None:
    assert not export_wanted({})
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}
    assert export_wanted(endpoint)
    assert not export_wanted({**endpoint, "OTEL_SDK_DISABLED": "true"})
    assert not export_wanted({**endpoint, "OTEL_TRACES_EXPORTER": "none"})


def test_spans_are_free_when_off() -> None:
    configure_tracing("kit")()
    with tracer("kit").start_as_current_span("nothing") as span:
        assert not span.is_recording()
        assert outgoing_metadata() == ()
