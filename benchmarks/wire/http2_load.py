"""Unary gRPC calls over raw HTTP/2: a load that costs a fraction of what any gRPC client does.

It speaks as much of RFC 9113 and of gRPC's protocol as such calls need: flow control, pings and
settings, headers that need no compression table. It knows one method, takes the bytes of requests
and hands back the bytes of answers; an answer that is no message is an error with the trailers in
it. One thread, a few connections, as many calls in flight as asked, the next one sent as soon as
one is answered (closed loop).
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import cycle, islice

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4  # a setting's number
WINDOW_DEFAULT = 65_535
WINDOW_MAX = (1 << 31) - 1
WINDOW_RENEWED_AT = 1 << 30  # bytes received on a connection before its window is opened again
FRAME_BYTES_MAX = 16_384
CONNECTIONS_MAX = 4
RECEIVE_BYTES = 1 << 20
ANSWER_SECONDS_MAX = 30.0
GRPC_PREFIX = struct.Struct(">BI")  # compressed or not, length

Check = Callable[[bytes, bytes], None]


class CallFailedError(RuntimeError):
    """An answer that is no message, or a connection that ended."""


def ask_all(port: int, path: str, requests: Iterable[bytes]) -> list[bytes]:
    """The answers to the requests, asked one after another."""
    connection = Connection(port, path)
    try:
        return [connection.ask(request) for request in requests]
    finally:
        connection.close()


def run_load(
    port: int, path: str, requests: list[bytes], *, in_flight: int, seconds: float, check: Check
) -> list[float]:
    """Seconds of every call that was answered within ``seconds``; ``check(request, answer)`` is
    called for each and raises where the answer is wrong."""
    with selectors.DefaultSelector() as selector:
        connections = [Connection(port, path) for _ in range(min(in_flight, CONNECTIONS_MAX))]
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        waiting = cycle(requests)
        for connection in islice(cycle(connections), in_flight):
            connection.send(next(waiting))
        latencies: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for key, _ in selector.select(ANSWER_SECONDS_MAX):
                for request, answer, latency_s in key.data.received():
                    check(request, answer)
                    latencies.append(latency_s)
                    key.data.send(next(waiting))
        for connection in connections:
            connection.close()
    return latencies


class Connection:
    """To 127.0.0.1; calls of one method."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = _header_block(path, f"127.0.0.1:{port}")
        self._stream = -1
        self._calls: dict[int, tuple[bytes, float]] = {}  # stream → request, when it was sent
        self._answers: dict[int, bytearray] = {}
        self._input = b""
        self._waiting: deque[tuple[bytes, int]] = deque()  # frames and their flow-controlled bytes
        self._window = WINDOW_DEFAULT
        self._consumed = 0
        window = struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW_MAX)
        self.socket.sendall(PREFACE + _frame(SETTINGS, 0, 0, window) + _grant(WINDOW_DEFAULT))

    def close(self) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> bytes:
        """One call, waited for."""
        self.send(request)
        while not (completed := self.received()):
            pass
        return completed[0][1]

    def send(self, request: bytes) -> None:
        """Starts a call; its frames wait where the connection's window is closed. A stream's own
        window is never the narrower one, as requests are shorter than its default."""
        if len(request) + GRPC_PREFIX.size > WINDOW_DEFAULT:
            raise ValueError(f"a request of {len(request)} bytes: this load takes {WINDOW_DEFAULT}")
        self._stream += 2
        stream = self._stream
        self._calls[stream] = request, time.perf_counter()
        self._waiting.append((_frame(HEADERS, END_HEADERS, stream, self._headers), 0))
        body = GRPC_PREFIX.pack(0, len(request)) + request
        for begin in range(0, len(body), FRAME_BYTES_MAX):
            part = body[begin : begin + FRAME_BYTES_MAX]
            last = END_STREAM if begin + FRAME_BYTES_MAX >= len(body) else 0
            self._waiting.append((_frame(DATA, last, stream, part), len(part)))
        self._flush()

    def received(self) -> list[tuple[bytes, bytes, float]]:
        """(request, answer, seconds) of every call that what has just come completes."""
        came = self.socket.recv(RECEIVE_BYTES)
        if not came:
            raise CallFailedError("the server closed the connection")
        data = self._input + came
        at, completed = 0, []
        while at + 9 <= len(data):
            size = int.from_bytes(data[at : at + 3], "big")
            if at + 9 + size > len(data):
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            payload = data[at + 9 : at + 9 + size]
            at += 9 + size
            if kind in (DATA, HEADERS):
                if kind == DATA:
                    self._answers.setdefault(stream, bytearray()).extend(payload)
                    self._consumed += size
                if flags & END_STREAM:
                    completed.append(self._completed(stream, payload))
            else:
                self._control(kind, flags, stream, payload)
        self._input = data[at:]
        self._renew()
        return completed

    def _completed(self, stream: int, trailers: bytes) -> tuple[bytes, bytes, float]:
        request, sent = self._calls.pop(stream)
        answer = self._answers.pop(stream, b"")
        if len(answer) < GRPC_PREFIX.size:
            raise CallFailedError(f"no message; the trailers are {trailers!r}")
        _, size = GRPC_PREFIX.unpack_from(answer)
        if len(answer) != GRPC_PREFIX.size + size:
            raise CallFailedError(f"{len(answer)} bytes came of {GRPC_PREFIX.size + size}")
        return request, bytes(answer[GRPC_PREFIX.size :]), time.perf_counter() - sent

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self.socket.sendall(_frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(_frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
            self._flush()
        elif kind in (RST_STREAM, GOAWAY):
            raise CallFailedError(f"the server ended a call or the connection: {payload!r}")

    def _flush(self) -> None:
        out = []
        while self._waiting and self._waiting[0][1] <= self._window:
            frame, size = self._waiting.popleft()
            self._window -= size
            out.append(frame)
        if out:
            self.socket.sendall(b"".join(out))

    def _renew(self) -> None:
        if self._consumed >= WINDOW_RENEWED_AT:
            self.socket.sendall(_frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._consumed)))
            self._consumed = 0


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _grant(already: int) -> bytes:
    """Opens the connection's window as far as it goes."""
    return _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - already))


def _header_block(path: str, authority: str) -> bytes:
    """HPACK (RFC 7541) with the static table alone; nothing is remembered between calls."""
    return b"".join(
        (
            b"\x83",  # :method POST
            b"\x86",  # :scheme http
            b"\x04" + _text(path),
            b"\x01" + _text(authority),
            b"\x0f\x10" + _text("application/grpc"),  # content-type
            b"\x00" + _text("te") + _text("trailers"),
            b"\x00" + _text("grpc-timeout") + _text("10S"),
        )
    )


def _text(text: str) -> bytes:
    if len(text) > 126:
        raise ValueError(f"{text!r} is longer than the 126 characters that a header may have here")
    return bytes([len(text)]) + text.encode()
