"""`molmo ask --remote`: the answer of a server, and its troubles as one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from chat_server import TEXT, ChatServer, answer, make_certificate, refuse
from PIL import Image


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("MOLMO_API_KEY", raising=False)
    server = ChatServer(answer())
    yield server
    server.close()


def test_words_and_points_of_a_server_are_printed(molmo, picture, server):
    status, out, _ = molmo("ask", picture, "?", "--remote", server.url, "--model", "molmo")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == TEXT.lstrip()
    assert lines[1].startswith("  1  mug  x 25 % y 50.5 %  pixel (15.5, 23.7)  confidence 0.4")
    assert lines[2].endswith("24 tokens")


def test_json_names_model_and_server(molmo, picture, server, tmp_path):
    (tmp_path / "key").write_text("secret")
    arguments = ("--remote", server.url, "--model", "molmo", "--key-file", tmp_path / "key")
    status, out, _ = molmo("ask", picture, "Where?", *arguments, "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["model"], found["engine"]) == ("molmo", f"remote {server.url[:-3]}")
    assert found["points"][0]["label"] == "mug"
    assert server.requests[0][1]["Authorization"] == "Bearer secret"


def test_a_certificate_of_our_own_is_trusted_when_it_is_named(molmo, picture, tmp_path):
    certificate = make_certificate(tmp_path)
    server = ChatServer(answer(), certificate=certificate)
    arguments = ("ask", picture, "Where?", "--remote", server.url, "--model", "molmo")
    assert molmo(*arguments, "--ca-file", certificate[0])[0] == 0
    status, _, err = molmo(*arguments)
    server.close()
    assert status == 1
    assert "certificate is not trusted" in err


@pytest.mark.parametrize(
    ("replies", "sentence"),
    [([refuse(401)], "wants a key (401)"), ([refuse(400, "no picture here")], "no picture here")],
)
def test_a_refusal_is_one_sentence(molmo, picture, server, replies, sentence):
    server.replies = replies
    status, _, err = molmo("ask", picture, "?", "--remote", server.url, "--model", "molmo")
    assert status == 1
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_what_is_no_address_is_one_sentence(molmo, picture):
    status, _, err = molmo("ask", picture, "Where?", "--remote", "gpu.lan", "--model", "molmo")
    assert status == 1
    assert "wanted one like https://HOST:PORT/v1" in err
