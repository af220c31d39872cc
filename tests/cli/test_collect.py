"""`molmo collect`: a list of links becomes a store, in figures for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("datasets", reason="needs datasets to read tables")
pytest.importorskip("httpx2", reason="needs httpx2 to fetch pictures")

from web import Web, hold, picture

from molmo_training.store import DiskStore

CODE = "from molmo_cli.main import main; main()"


@pytest.fixture
def web():
    web = Web()
    yield web
    web.close()


@pytest.fixture
def links(tmp_path, web):
    """Two pictures and a dead link, as JSON lines."""
    urls = [web.add("/a.png", picture(1)), web.add("/b.png", picture(2))]
    urls.append(f"http://127.0.0.1:{web.port}/gone.png")
    path = tmp_path / "links.jsonl"
    path.write_text("".join(json.dumps({"image_url": url}) + "\n" for url in urls))
    return path


def test_pictures_are_collected_and_counted(molmo, links, web, tmp_path):
    arguments = ("collect", links, "--store", tmp_path / "store", "--private")
    status, out, _ = molmo(*arguments)
    assert status == 0
    figures = dict(line.split(maxsplit=1) for line in out.splitlines() if " x " not in line)
    assert figures["pictures"] == "3"
    assert figures["fetched"].startswith("2, ")
    assert "1 x 404 Not Found" in out
    status, out, _ = molmo(*arguments, "--json")
    again = json.loads(out)
    assert (status, again["here"], again["fetched"], again["known"]) == (0, 2, 0, 1)
    assert again["reasons"] == {"404 Not Found": 1}
    assert len(web.asked) == 3
    url = f"http://127.0.0.1:{web.port}/a.png"
    assert DiskStore(tmp_path / "store").read(url) == picture(1)


def test_not_a_single_picture_is_a_failure(molmo, links, web, tmp_path):
    status, out, _ = molmo("collect", links, "--store", tmp_path / "store", "--json")
    assert (status, json.loads(out)["refused"], web.asked) == (1, 3, [])


def test_a_bad_line_is_a_misuse(molmo, tmp_path):
    (tmp_path / "links.jsonl").write_text("http://x/a.png\n")
    status, _, err = molmo("collect", tmp_path / "links.jsonl", "--store", tmp_path / "store")
    assert status == 2
    assert "line 1" in err


def test_a_disk_that_refuses_is_one_sentence(molmo, links, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "files").write_text("in the way")
    status, _, err = molmo("collect", links, "--store", tmp_path / "store", "--private")
    assert status == 1
    assert "store: cannot be written: File exists. Nothing in it is lost" in err.splitlines()[-1]


def test_it_stops_when_told_to_and_says_that_it_can_go_on(links, web, tmp_path):
    held = hold(web, lambda: False, b"")
    web.pages["/a.png"] = [held]
    command = [sys.executable, "-c", CODE, "collect", str(links), "--private", "--store"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "store")], stderr=subprocess.PIPE, text=True
    )
    web.wait_for(lambda: "/a.png" in web.asked)
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
