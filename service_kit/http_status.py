"""The small HTTP side door of a service: /metrics, /healthz (alive) and /readyz (serving)."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service_kit.metrics import Metrics
from service_kit.readiness import Readiness

TEXT = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"


class StatusServer:
    """Answers on its own threads, so a busy event loop cannot make a scrape fail."""

    def __init__(self, host: str, port: int, metrics: Metrics, readiness: Readiness) -> None:
        """Binds at once; port 0 picks a free one. Raises OSError where the port is taken."""
        handler = _handler(metrics, readiness)
        self._server = _QuietServer((host, port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stops answering and frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True


def _handler(metrics: Metrics, readiness: Readiness) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = _answer(self.path, metrics, readiness)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Scrapes are not worth a log line."""

    return Handler


def _answer(path: str, metrics: Metrics, readiness: Readiness) -> tuple[HTTPStatus, str, bytes]:
    if path == "/metrics":
        return HTTPStatus.OK, TEXT, metrics.exposition()
    if path == "/healthz":
        return HTTPStatus.OK, JSON, b'{"alive": true}\n'
    if path == "/readyz":
        state = readiness.state()
        status = HTTPStatus.OK if state.serving else HTTPStatus.SERVICE_UNAVAILABLE
        body = {"serving": state.serving, "reason": state.reason}
        return status, JSON, json.dumps(body).encode() + b"\n"
    return HTTPStatus.NOT_FOUND, JSON, b'{"paths": ["/metrics", "/healthz", "/readyz"]}\n'
