"""A model hub on this machine: as much of the hub's protocol as fetching a snapshot needs."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the files of one directory as one model; can lose the connection within a file.

    requests: (method, file, first byte) of what was asked for
    """

    def __init__(self, model_id: str, files: Path) -> None:
        self.model_id, self.files = model_id, files
        self.requests: list[tuple[str, str, int]] = []
        self.break_once: dict[str, int] = {}  # file: bytes to send before the connection breaks
        self.refused: set[str] = set()  # files whose sending fails for now
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self})
        )
        Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fetched(self) -> list[str]:
        return sorted({name for method, name, _ in self.requests if method == "GET"})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:  # noqa: N802
        self._answer(send_body=False)

    def do_GET(self) -> None:  # noqa: N802
        self._answer(send_body=True)

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _answer(self, send_body: bool) -> None:
        path, hub = self.path.partition("?")[0], self.hub
        files = f"/{hub.model_id}/resolve/{COMMIT}/"
        if path == f"/api/models/{hub.model_id}/revision/main":
            names = [{"rfilename": file.name} for file in hub.files.iterdir()]
            self._send_json({"id": hub.model_id, "sha": COMMIT, "siblings": names})
        elif path == f"/api/models/{hub.model_id}/tree/{COMMIT}":
            self._send_json([_tree_entry(file) for file in hub.files.iterdir()])
        elif path.startswith(files):
            self._send_file(hub.files / path.removeprefix(files), send_body)
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _send_file(self, file: Path, send_body: bool) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.hub.requests.append((self.command, file.name, start))
        if send_body and file.name in self.hub.refused:
            return self._send(503, b"", {})
        body = file.read_bytes()
        headers = {"ETag": f'"{_digest(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        sent = body[start : self.hub.break_once.pop(file.name, None)] if send_body else b""
        self._send(206 if start else 200, sent, headers, length=len(body) - start)

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


def _tree_entry(file: Path) -> dict[str, object]:
    return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _digest(file)}


def _digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
