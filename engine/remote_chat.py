"""OpenAI's chat protocol, as much of it as a question about a picture needs; vLLM speaks it too.

A question becomes one JSON object; the answer is a stream of events, each a line "data: JSON".
Knows no sockets (see remote_http.py) and no points.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from molmo_engine.records import AskOptions, Usage
from molmo_engine.remote_http import RemoteError, Server

PATH = "/chat/completions"
# How a picture travels: settings of OpenCV. JPEG takes a tenth of the bytes, PNG is exact.
PICTURES = {
    "jpeg": (cv2.IMWRITE_JPEG_QUALITY, 95),
    "png": (cv2.IMWRITE_PNG_COMPRESSION, 1),
}


@dataclass(frozen=True)
class Piece:
    """The text of a token; its probability is 0 where the server tells none."""

    text: str
    probability: float


@dataclass(frozen=True)
class Chunk:
    """What one event of the stream says."""

    pieces: tuple[Piece, ...] = ()
    usage: Usage | None = None
    is_last: bool = False  # no more text comes


def encode_question(
    model: str, rgb: npt.NDArray[np.uint8], prompt: str, options: AskOptions, picture: str
) -> bytes:
    """The body of a request; picture is one of PICTURES. ValueError for what is no picture."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"a picture is (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    _, data = cv2.imencode(f".{picture}", rgb[..., ::-1], PICTURES[picture])
    url = f"data:image/{picture};base64,{base64.b64encode(data.tobytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
    request = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": options.max_new_tokens,
        "temperature": 0,
        "logprobs": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(request).encode()


def read_chunks(lines: Iterator[bytes | None], server: Server) -> Iterator[Chunk | None]:
    """The chunks of an answer, None where there is no news; RemoteError for anything else."""
    is_complete = False
    for line in lines:
        name, _, data = (line or b"").strip().partition(b":")
        if name in (b"", b"event", b"id", b"retry"):  # silence, a comment, or not our concern
            yield None
            continue
        if line is None or not line.endswith(b"\n"):
            break
        if name == b"data" and data.strip() == b"[DONE]":
            return
        chunk = _chunk(data if name == b"data" else line, server)
        is_complete = is_complete or chunk.is_last
        yield chunk
    if not is_complete:
        raise RemoteError(f"{server.name}: the connection broke before the answer was complete")


def _chunk(data: bytes, server: Server) -> Chunk:
    try:
        raw = json.loads(data)
        if "choices" not in raw:
            said = raw.get("error", raw)
            raise RemoteError(f"{server.name}: gave up: {server.shown(json.dumps(said))}")
        choice = raw["choices"][0] if raw["choices"] else {}
        return Chunk(_pieces(choice), _usage(raw), choice.get("finish_reason") is not None)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        said = server.shown(data.decode(errors="replace"))
        raise RemoteError(
            f"{server.name}: does not speak OpenAI's chat protocol, but says {said!r}. "
            "Is the address right? It often ends in /v1"
        ) from error


def _pieces(choice: dict[str, Any]) -> tuple[Piece, ...]:
    """The text of a chunk, cut into tokens where the server tells them."""
    text = choice.get("delta", {}).get("content") or ""
    if not isinstance(text, str):
        raise TypeError(text)
    tokens = (choice.get("logprobs") or {}).get("content") or []
    sure = [math.exp(min(0.0, float(token["logprob"]))) for token in tokens]
    if "".join(token["token"] for token in tokens) == text:
        return tuple(map(Piece, [token["token"] for token in tokens], sure))
    # Half characters, or no probabilities at all.
    return (Piece(text, math.prod(sure) if sure else 0.0),) if text else ()


def _usage(raw: dict[str, Any]) -> Usage | None:
    usage = raw.get("usage")
    if not usage:
        return None
    return Usage(
        prompt_tokens=int(usage["prompt_tokens"]), answer_tokens=int(usage["completion_tokens"])
    )
