"""A server on this machine that speaks OpenAI's chat protocol the way vLLM does."""

from __future__ import annotations

import json
import math
import ssl
import subprocess
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

TOKENS = [" <", "point", " x", '="', "2", "5", ".", "0", '"', " y", '="', "5", "0", ".", "5", '"']
TOKENS += [" alt", '="', "mug", '">', "mug", "</", "point", ">"]
TEXT = "".join(TOKENS)


class ChatServer:
    """Answers each request with the next of its replies; the last one serves all that follow.

    requests: path, headers and body of what was asked
    gone:     is set when a client left before its answer was complete
    """

    def __init__(self, *replies: Reply, certificate: tuple[Path, Path] | None = None) -> None:
        self.replies = list(replies)
        self.requests: list[tuple[str, dict[str, str], dict]] = []
        self.times: list[float] = []
        self.gone = Event()
        handler = type("Bound", (_Handler,), {"chat": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._server.handle_error = lambda *_: None  # clients that leave are part of the tests
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    chat: ChatServer

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.chat.requests.append((self.path, dict(self.headers), body))
        self.chat.times.append(time.monotonic())
        replies = self.chat.replies
        try:
            (replies.pop(0) if len(replies) > 1 else replies[0])(self)
        except OSError:
            self.chat.gone.set()
            raise

    def log_message(self, *_: object) -> None:
        """Silent."""

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def begin_stream(self) -> None:
        self.begin(Content_Type="text/event-stream", Transfer_Encoding="chunked")

    def send_data(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def send_event(self, value: object) -> None:
        self.send_data(f"data: {json.dumps(value)}\n\n".encode())


Reply = Callable[[_Handler], None]


def chunk(text: str, probability: float | None = 0.9, tokens: list[str] | None = None) -> dict:
    """A piece of an answer as the protocol writes it."""
    told = None
    if probability is not None:
        told = {
            "content": [{"token": t, "logprob": math.log(probability)} for t in tokens or [text]]
        }
    choice = {"index": 0, "delta": {"content": text}, "logprobs": told, "finish_reason": None}
    return {"object": "chat.completion.chunk", "choices": [choice], "usage": None}


ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
END = {"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 750, "completion_tokens": len(TOKENS)}}


def events(*values: dict, done: bool = True, pause_s: float = 0.0) -> Reply:
    """A stream of these events, and maybe the mark of its end."""

    def reply(handler: _Handler) -> None:
        handler.begin_stream()
        for value in values:
            handler.send_event(value)
            time.sleep(pause_s)
        if done:
            handler.send_data(b"data: [DONE]\n\n")
        handler.send_data(b"")

    return reply


def answer(pause_s: float = 0.0) -> Reply:
    """The whole answer, token by token."""
    return events(ROLE, *map(chunk, TOKENS), END, USAGE, pause_s=pause_s)


def refuse(status: int, message: str = "no", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "code": status}}).encode()

    def reply(handler: _Handler) -> None:
        handler.begin(status, Content_Length=str(len(body)), **headers)
        handler.wfile.write(body)

    return reply


def raw(data: bytes) -> Reply:
    """A successful answer of these bytes, whatever they are."""

    def reply(handler: _Handler) -> None:
        handler.begin(Content_Length=str(len(data)))
        handler.wfile.write(data)

    return reply


def hang_up(*values: dict) -> Reply:
    """Some events, then the connection breaks."""

    def reply(handler: _Handler) -> None:
        if values:
            handler.begin_stream()
        for value in values:
            handler.send_event(value)
        handler.connection.shutdown(2)
        handler.close_connection = True

    return reply


def never(*values: dict) -> Reply:
    """Some events, then silence until the client goes."""

    def reply(handler: _Handler) -> None:
        handler.begin_stream()
        for value in values:
            handler.send_event(value)
        while True:  # a comment that keeps the connection, until it is gone
            handler.send_data(b": ping\n\n")
            time.sleep(0.02)

    return reply


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "2", "-subj", "/CN=molmo test", "-keyout", key, "-out", certificate]
        + ["-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    return certificate, key
