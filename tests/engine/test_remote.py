"""A remote model answers as a local one does; a server's troubles end as one sentence."""

from __future__ import annotations

import base64
import logging
import threading
import time

import chat_server
import numpy as np
import pytest
from chat_server import (
    END,
    ROLE,
    TEXT,
    TOKENS,
    ChatServer,
    answer,
    chunk,
    events,
    hang_up,
    never,
    raw,
    refuse,
)
from scripted import RGB

import molmo_engine
from molmo_engine.records import AskOptions, Done, PointFound, Token
from molmo_engine.remote_http import RemoteError
from molmo_model.pictures import open_picture
from molmo_model.points import Point
from molmo_model.text import PromptError

KEY = "sk-very-secret-0123456789"
SOON = AskOptions(timeout_s=0.3)


@pytest.fixture
def serve():
    """Starts servers with these replies; they end with the test."""
    servers = []

    def start(*replies, **settings):
        servers.append(ChatServer(*replies, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """The first wait is as long as a test may take."""
    monkeypatch.setattr("molmo_engine.remote_transfer.WAIT_S", 0.02)
    monkeypatch.delenv("MOLMO_API_KEY", raising=False)


def ask(server, options=None, **settings):
    return molmo_engine.connect(server.url, "molmo", **settings).ask(RGB, "Where?", options)


def wait_for(condition) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def remote_threads():
    return [thread for thread in threading.enumerate() if thread.name == "molmo-remote"]


def test_the_answer_has_text_points_confidence_and_usage(serve):
    found = ask(serve(answer()))
    assert found.text == TEXT.lstrip()
    assert found.points == (Point(25.0, 50.5, "mug"),)
    assert found.found[0].pixel == (99.5, 151.0)
    assert found.found[0].confidence == pytest.approx(0.9**8)  # the tokens of its digits and dots
    assert (found.usage.prompt_tokens, found.usage.answer_tokens) == (750, len(TOKENS))
    assert 0 < found.timings.first_token_ms <= found.timings.first_point_ms
    assert found.timings.first_point_ms <= found.timings.total_ms


def test_events_come_as_the_server_writes_them(serve):
    server = serve(answer(pause_s=0.02))
    stream = molmo_engine.connect(server.url, "molmo").stream(RGB, "Where?")
    arrived = [(type(event), time.monotonic()) for event in stream if event != Token("")]
    kinds = [kind for kind, _ in arrived]
    assert kinds == [Token] * 16 + [PointFound] + [Token] * 8 + [Done]
    assert arrived[-1][1] - arrived[0][1] > 0.3


@pytest.mark.parametrize(("picture", "furthest"), [("png", 0), ("jpeg", 40)])
def test_the_request_holds_question_picture_and_key(serve, tmp_path, picture, furthest):
    server = serve(answer())
    (tmp_path / "key").write_text(f"{KEY}\n")
    smooth = RGB[:1].repeat(300, 0)  # noise is what JPEG keeps worst
    predictor = molmo_engine.connect(server.url, "molmo", tmp_path / "key", picture=picture)
    predictor.ask(smooth, "Where?", AskOptions(max_new_tokens=77))
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("molmo", 77, 0)
    image, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "Where?"}
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == f"data:image/{picture};base64"
    sent = open_picture(base64.b64decode(data)).astype(int)
    assert np.abs(sent - smooth).mean() <= furthest


def test_the_key_comes_from_the_environment(serve, monkeypatch):
    server = serve(answer())
    monkeypatch.setenv("MOLMO_API_KEY", KEY)
    ask(server)
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent(serve):
    server = serve(answer())
    ask(server)
    assert "Authorization" not in server.requests[0][1]


def test_several_tokens_in_a_chunk_are_told_apart(serve):
    chunks = [chunk("".join(TOKENS[i : i + 5]), 0.9, TOKENS[i : i + 5]) for i in range(0, 24, 5)]
    found = ask(serve(events(*chunks, END)))
    assert found.found[0].confidence == pytest.approx(0.9**8)
    assert found.usage.answer_tokens == len(TOKENS)


def test_without_probabilities_no_point_is_trusted(serve):
    found = ask(serve(events(*(chunk(token, None) for token in TOKENS), END)))
    assert [point.confidence for point in found.found] == [0]


def test_half_characters_are_as_sure_as_their_tokens(serve):
    pieces = [chunk("é", 0.5, ["\ufffd", "\ufffd"]), *map(chunk, TOKENS)]
    found = ask(serve(events(*pieces, END)))
    assert found.text == "é" + TEXT
    assert found.found[0].confidence == pytest.approx(0.9**8)


def test_enough_points_end_the_answer(serve):
    server = serve(events(*map(chunk, TOKENS), *map(chunk, TOKENS * 50), END, pause_s=0.002))
    found = ask(server, AskOptions(max_points=2))
    assert len(found.points) == 2
    assert found.text.endswith('y="50.5"')
    assert server.gone.wait(20)


def test_an_end_without_its_mark_is_an_end(serve):
    assert ask(serve(events(chunk("No."), END, done=False))).text == "No."


def test_closing_the_stream_lets_the_server_go(serve):
    server = serve(never(chunk("Well")))
    stream = molmo_engine.connect(server.url, "molmo").stream(RGB, "Where?")
    assert next(event for event in stream if event != Token("")) == Token("Well")
    began = time.monotonic()
    assert next(stream) == Token("")  # a chance to stop, though the server is silent
    stream.close()
    assert time.monotonic() - began < 2  # the server goes on for ever
    assert server.gone.wait(20)
    assert wait_for(lambda: not remote_threads())


def test_another_question_ends_the_one_before(serve):
    predictor = molmo_engine.connect(serve(never(chunk("Well")), answer()).url, "molmo")
    stream = predictor.stream(RGB, "Where?")
    next(stream)
    assert predictor.ask(RGB, "Where?").text == TEXT.lstrip()
    with pytest.raises(RuntimeError, match="another question was asked"):
        list(stream)


def test_a_closed_predictor_ends_its_answer(serve):
    predictor = molmo_engine.connect(serve(never()).url, "molmo")
    stream = predictor.stream(RGB, "Where?")
    next(stream)
    predictor.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(stream)


@pytest.mark.parametrize("reply", [never(), never(chunk("Well")), refuse(429, Retry_After="20")])
def test_the_deadline_holds_whatever_the_server_does(serve, reply):
    server, began = serve(reply), time.monotonic()
    with pytest.raises(TimeoutError, match=r"no complete answer within 0\.3 s"):
        ask(server, SOON)
    assert time.monotonic() - began < 5  # silence and Retry-After are longer
    assert wait_for(lambda: not remote_threads())


def test_a_silent_server_is_left(serve):
    def silent(_):
        time.sleep(0.5)

    predictor = molmo_engine.connect(serve(silent).url, "molmo")
    object.__setattr__(predictor.server, "silence_s", 0.1)
    with pytest.raises(TimeoutError, match=r"sent nothing for 0\.1 s"):
        predictor.ask(RGB, "Where?")


@pytest.mark.parametrize("trouble", [refuse(500), refuse(503), refuse(429), hang_up()])
def test_passing_troubles_are_tried_again(serve, trouble):
    server = serve(trouble, trouble, answer())
    assert ask(server).text == TEXT.lstrip()
    assert len(server.requests) == 3


def test_waits_grow_from_attempt_to_attempt(serve):
    server = serve(refuse(500, "out of memory"))
    with pytest.raises(RemoteError, match=r"answered 500 .*: out of memory; tried 4 times"):
        ask(server)
    assert (np.diff(server.times) > [0.015, 0.03, 0.06]).all()


@pytest.mark.parametrize("wait", ["1", "date"])
def test_a_busy_server_says_how_long_to_wait(serve, wait):
    if wait == "date":
        wait = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
    server = serve(refuse(429, Retry_After=wait), answer())
    ask(server)
    assert np.diff(server.times)[0] > 0.9


def test_a_server_that_is_busy_for_long_is_not_waited_for(serve):
    with pytest.raises(RemoteError, match=r"is busy \(429\); it asks to wait for 3600 s"):
        ask(serve(refuse(429, Retry_After="3600")))


def test_after_the_first_word_nothing_is_tried_again(serve):
    server = serve(hang_up(chunk("Well")), answer())
    stream = molmo_engine.connect(server.url, "molmo").stream(RGB, "Where?")
    with pytest.raises(RemoteError, match="the connection broke"):
        list(stream)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (refuse(400, "too many\n images"), "answered 400 Bad Request: too many images"),
        (refuse(404, "The model `molmo` does not exist."), "the model's name right?"),
        (refuse(302, Location="http://elsewhere/"), "answered 302"),
        (raw(b"<html>hello</html>\n"), "does not speak OpenAI's chat protocol, but says '<html>"),
        (raw(b'data: {"choices": 3}\n\n'), "does not speak OpenAI's chat protocol"),
        (raw(b"data: [1, 2]\n\n"), "does not speak OpenAI's chat protocol"),
        (raw(b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'), "does not speak OpenAI's"),
        (raw(b'data: {"error": {"message": "no GPU left"}}\n\n'), "gave up: .*no GPU left"),
        (raw(b'data: {"choices": [{"del'), "the connection broke before the answer was complete"),
        (raw(b""), "the connection broke before the answer was complete"),
        (events(ROLE, chunk("Well"), done=False), "the connection broke before the answer"),
    ],
)
def test_what_is_no_answer_is_one_sentence(serve, reply, sentence):
    server = serve(reply)
    with pytest.raises(RemoteError, match=sentence) as found:
        ask(server)
    assert "\n" not in str(found.value)
    assert server.url.removesuffix("/v1") in str(found.value)
    assert len(server.requests) == 1


def test_nobody_there_is_one_sentence(serve):
    server = serve(answer())
    server.close()
    with pytest.raises(RemoteError, match="cannot be reached .*refused.* tried 4 times"):
        ask(server)


def test_an_encrypted_server_is_believed_by_its_authority_alone(serve, tmp_path):
    certificate = chat_server.make_certificate(tmp_path)
    server = serve(answer(), certificate=certificate)
    assert ask(server, ca_file=certificate[0]).text == TEXT.lstrip()
    with pytest.raises(RemoteError, match="certificate is not trusted: self-signed.*--ca-file"):
        ask(server)
    assert len(server.requests) == 1


def test_an_encrypted_answer_can_be_cancelled(serve, tmp_path):
    certificate = chat_server.make_certificate(tmp_path)
    server = serve(never(chunk("Well")), certificate=certificate)
    predictor = molmo_engine.connect(server.url, "molmo", ca_file=certificate[0])
    stream = predictor.stream(RGB, "Where?")
    assert next(event for event in stream if event != Token("")) == Token("Well")
    stream.close()
    assert server.gone.wait(20)
    assert wait_for(lambda: not remote_threads())


@pytest.mark.parametrize(
    "trouble",
    [
        refuse(401, f"Incorrect API key: {KEY}"),
        refuse(400, f"you sent {KEY}"),
        refuse(500, KEY),
        raw(f"data: {KEY}\n\n".encode()),
        raw(b'data: {"error": "%s"}\n\n' % KEY.encode()),
        hang_up(),
    ],
)
def test_the_key_is_in_no_message_and_no_log(serve, tmp_path, caplog, trouble):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key").write_text(KEY)
    server = serve(trouble)
    with pytest.raises(RemoteError) as found:
        ask(server, key_file=tmp_path / "key")
    causes = [found.value, found.value.__cause__, found.value.__context__]
    shown = " ".join(map(repr, causes)) + caplog.text
    predictor = molmo_engine.connect(server.url, "molmo", tmp_path / "key")
    assert KEY not in shown + repr(predictor.server) + predictor.engine_id
    assert server.requests[0][1]["Authorization"].endswith(KEY)


def test_refusing_a_key_names_where_it_comes_from(serve):
    with pytest.raises(RemoteError, match=r"wants a key \(401\).*--key-file FILE.*MOLMO_API_KEY"):
        ask(serve(refuse(401)))


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [("http://gpu.lan/v1", True), ("https://gpu.lan/v1", False), ("http://localhost/v1", False)],
)
def test_a_key_that_travels_unencrypted_is_warned_of(monkeypatch, caplog, url, is_warned):
    molmo_engine.connect(url, "molmo")
    assert not caplog.text
    monkeypatch.setenv("MOLMO_API_KEY", KEY)
    molmo_engine.connect(url, "molmo")
    assert ("goes there unencrypted" in caplog.text) == is_warned
    assert KEY not in caplog.text


@pytest.mark.parametrize("content", ["two words", "line\nline", "schlüssel", "\x00"])
def test_what_is_no_key_is_refused_unseen(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises(ValueError, match="the key has characters") as found:
        molmo_engine.connect("http://127.0.0.1/v1", "molmo", tmp_path / "key")
    assert content not in str(found.value)


@pytest.mark.parametrize(
    "url",
    ["gpu.lan:8000", "ftp://gpu.lan/", "http://", f"http://me:{KEY}@gpu", f"http://g?k={KEY}"],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="wanted") as found:
        molmo_engine.connect(url, "molmo")
    assert KEY not in str(found.value)


def test_what_is_no_certificate_is_refused_when_it_is_named(tmp_path):
    (tmp_path / "ca").write_text("hello")
    for name in ("ca", "none"):
        with pytest.raises(ValueError, match=f"{name}: no certificates"):
            molmo_engine.connect("https://127.0.0.1/v1", "molmo", ca_file=tmp_path / name)


@pytest.mark.parametrize(
    ("rgb", "prompt", "options", "error"),
    [
        (RGB, " ", None, PromptError),
        (RGB[..., 0], "Where?", None, ValueError),
        (RGB.astype(float), "Where?", None, ValueError),
        (RGB, "Where?", AskOptions(well_formed=True), ValueError),
        (RGB, "Where?", AskOptions(raw=True), ValueError),
        (RGB, "Where?", AskOptions(max_crops=1), ValueError),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(rgb, prompt, options, error):
    with pytest.raises(error):
        molmo_engine.connect("http://127.0.0.1:9/v1", "molmo").stream(rgb, prompt, options)


def test_a_picture_travels_as_one_of_two_kinds():
    with pytest.raises(ValueError, match="'gif': wanted one of jpeg, png"):
        molmo_engine.connect("http://127.0.0.1/v1", "molmo", picture="gif")
