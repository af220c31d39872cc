"""A piece of the web on this machine: pictures, dead links, and servers in trouble."""

from __future__ import annotations

import io
import socket
import struct
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread

import numpy as np
from PIL import Image

Answer = Callable[["_Handler"], None]
WAIT_S = 20.0  # for what a test waits for; far more than it takes


def picture(seed: int, kind: str = "PNG", side: int = 24) -> bytes:
    """A picture file unlike that of any other seed."""
    rgb = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, kind)
    return stream.getvalue()


class Web:
    """A server; `pages` says how a path is answered, by one answer after the other.

    asked:   paths, in the order of the requests
    most:    requests that were answered at the same time, at most
    """

    def __init__(self) -> None:
        self.pages: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.most = self._now = 0
        self.changed = Condition()
        handler = type("Bound", (_Handler,), {"web": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients that leave are part of the tests
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def times(self) -> Counter[str]:
        return Counter(self.asked)

    def add(self, path: str, *answers: Answer | bytes, host: str = "127.0.0.1") -> str:
        """A page, and its URL; its last answer is given again and again."""
        self.pages[path] = [send(one) if isinstance(one, bytes) else one for one in answers]
        return f"http://{host}:{self.port}{path}"

    def wait_for(self, holds: Callable[[], bool]) -> None:
        """Until something is so that requests change."""
        with self.changed:
            assert self.changed.wait_for(holds, WAIT_S), "it never came so far"

    def answer(self, handler: _Handler) -> None:
        with self.changed:
            self.asked.append(handler.path)
            self.headers.append(dict(handler.headers))
            self._now += 1
            self.most = max(self.most, self._now)
            self.changed.notify_all()
            answers = self.pages.get(handler.path, [status(404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            answer(handler)
        finally:
            with self.changed:
                self._now -= 1
                self.changed.notify_all()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_GET(self) -> None:  # noqa: N802
        self.web.answer(self)

    def log_message(self, *_: object) -> None:
        """Silent."""

    def begin(self, code: int, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


def send(data: bytes) -> Answer:
    """The file as it is."""

    def answer(handler: _Handler) -> None:
        handler.begin(200, len(data))
        handler.wfile.write(data)

    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.begin(code, 0, **headers)


def redirect(url: str) -> Answer:
    return status(302, Location=url)


def cut_off(data: bytes, after: int) -> Answer:
    """Promises all of it, and closes the connection after some bytes."""

    def answer(handler: _Handler) -> None:
        handler.begin(200, len(data))
        handler.wfile.write(data[:after])
        handler.close_connection = True

    return answer


def reset(handler: _Handler) -> None:
    """Breaks the connection the hard way."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


def endless(handler: _Handler) -> None:
    """A file without an end and without a length; stops when the client leaves."""
    handler.begin(200, Connection="close")
    while True:
        handler.wfile.write(bytes(1 << 16))


def hold(web: Web, until: Callable[[], bool], then: Answer | bytes) -> Answer:
    """Waits until something is so that requests change, then answers."""

    def answer(handler: _Handler) -> None:
        web.wait_for(until)
        (send(then) if isinstance(then, bytes) else then)(handler)

    return answer
