"""One request to a server whose answer streams as lines, over HTTP or TLS.

The standard library does it: a robot installs nothing for it. Sends to the address it was given
and nowhere else: follows no redirect, uses no proxy. The key stands in no message. Blocks; knows
nothing of models, of retries (see remote_transfer.py) and of what the lines say.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from molmo_model.retry_after import retry_after_s

KEY_VARIABLE = "MOLMO_API_KEY"
BUSY, BROKEN, UNKNOWN = 429, (500, 502, 503, 504), (401, 403)
LONGEST_LINE = 1 << 20  # bytes
SHOWN = 200  # characters of what a server says

_log = logging.getLogger(__name__)


class RemoteError(ConnectionError):
    """A server that cannot be reached, refuses, or answers in another language."""


class PassingError(RemoteError):
    """What may be gone at the next attempt."""

    def __init__(self, sentence: str, wait_s: float = 0.0) -> None:
        """wait_s: what the server asks to wait."""
        super().__init__(sentence)
        self.wait_s = wait_s


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where requests go.

    url:       like "https://gpu.lan:8000/v1"
    key:       sent as a bearer token; None = none
    ca_file:   certificates of the authorities to trust, instead of the system's
    connect_s: the longest to wait for a connection
    silence_s: the longest to wait for more of an answer
    """

    url: str
    key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    connect_s: float = 5.0
    silence_s: float = 60.0

    def __post_init__(self) -> None:
        address, key = self.address, self.key
        if address.scheme not in ("http", "https") or not address.hostname or address.port == 0:
            raise ValueError("the server's address: wanted one like https://HOST:PORT/v1")
        if address.username or address.query:
            raise ValueError(f"{self.name}: wanted the address alone; a key comes from a file")
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("the key has characters that no key has: is it the right file?")
        is_here = address.hostname in ("localhost", "127.0.0.1", "::1")
        if key and address.scheme == "http" and not is_here:
            _log.warning("%s: the key goes there unencrypted; use https", self.name)
        if address.scheme == "https":
            _ = self.trust  # what is wrong with it is said now

    @property
    def address(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def name(self) -> str:
        """The address as far as messages show it."""
        return f"{self.address.scheme}://{self.address.netloc.rpartition('@')[2]}"

    def shown(self, text: str) -> str:
        """What a server says as part of a message: short, in one line, without the key."""
        hidden = text.replace(self.key, "***") if self.key else text
        return " ".join(hidden.split())[:SHOWN]

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Whom to believe to be this server."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"{self.ca_file}: no certificates (PEM) in it: {reason}") from error


class Call:
    """One POST of JSON."""

    def __init__(self, server: Server, path: str, body: bytes) -> None:
        self._server, self._body = server, body
        self._path = server.address.path.rstrip("/") + path
        self._socket: socket.socket | None = None
        self._is_ended = False

    def lines(self) -> Iterator[bytes]:
        """What the server answers; raises RemoteError, or TimeoutError when it is silent."""
        server = self._server
        address, timeout = (server.address.hostname or "", server.address.port), server.connect_s
        connection = (
            HTTPSConnection(*address, timeout=timeout, context=server.trust)
            if server.address.scheme == "https"
            else HTTPConnection(*address, timeout=timeout)
        )
        with closing(connection):
            self._connect(connection)
            try:
                with self._send(connection) as response:
                    if response.status != 200:
                        raise self._refusal(response)
                    while line := response.readline(LONGEST_LINE):
                        yield line
            except RemoteError:
                raise
            except TimeoutError as error:
                silence = f"{server.name}: sent nothing for {server.silence_s:g} s"
                raise TimeoutError(silence) from error
            except (OSError, HTTPException) as error:
                raise PassingError(f"{server.name}: the connection broke ({error!r})") from error

    def end(self) -> None:
        """Lets the server go, from any thread: who waits for a line gets an error or no more."""
        self._is_ended = True
        if self._socket is not None:
            with suppress(OSError):  # it ended by itself
                # Not SSLSocket's own, which takes the encryption from under the reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _connect(self, connection: HTTPConnection) -> None:
        name = self._server.name
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise RemoteError(
                f"{name}: its certificate is not trusted: {error.verify_message}. Name the "
                "authority that signed it: --ca-file FILE"
            ) from error
        except OSError as error:
            raise PassingError(
                f"{name}: cannot be reached ({error.strerror or error}). Is the server running, "
                "and is the address right?"
            ) from error
        self._socket = connection.sock
        self._socket.settimeout(self._server.silence_s)
        if self._is_ended:
            raise RemoteError(f"{name}: nobody waits for its answer any more")

    def _send(self, connection: HTTPConnection) -> HTTPResponse:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self._server.key:
            headers["Authorization"] = f"Bearer {self._server.key}"
        connection.request("POST", self._path, self._body, headers)
        return connection.getresponse()

    def _refusal(self, response: HTTPResponse) -> RemoteError:
        name, status = self._server.name, response.status
        if status in UNKNOWN:
            return RemoteError(
                f"{name}: {'refuses the' if self._server.key else 'wants a'} key ({status}). "
                f"Give it in a file (--key-file FILE) or in the variable {KEY_VARIABLE}"
            )
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        if status == BUSY:
            return PassingError(f"{name}: is busy ({status})", wait_s)
        said = self._server.shown(_message(response.read(LONGEST_LINE)))
        sentence = f"{name}: answered {status} {response.reason}{said and ': '}{said}"
        if status in BROKEN:
            return PassingError(sentence, wait_s)
        if status == 404:
            sentence += ". Are the address, often .../v1, and the model's name right?"
        return RemoteError(sentence)


def _message(body: bytes) -> str:
    """The sentence in an error's JSON, or all of it where there is none."""
    text = body.decode(errors="replace")
    with suppress(ValueError, TypeError, KeyError):
        raw = json.loads(text)
        return str(raw["error"]["message"] if "error" in raw else raw["message"])
    return text
