"""The picture store: what is fetched, kept and read again, from a web in every kind of trouble."""

from __future__ import annotations

import hashlib
import json
import pickle
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from time import time

import numpy as np
import pytest
from web import Web, cut_off, endless, hold, picture, redirect, reset, status

pytest.importorskip("httpx2", reason="needs httpx2 to fetch pictures")

from molmo_model.pictures import PictureError, open_picture
from molmo_training.records import Picture, Remote
from molmo_training.store import DeadLinkError, DiskStore, StoreError
from molmo_training.store_download import Limits
from molmo_training.store_fetching import DAY_S, Fetching
from molmo_training.store_index import Dead, Index

HERE = Limits(private=True, connect_s=30, silence_s=60, total_s=120)  # a machine may pause
QUICK = Fetching(back_off_s=0.01, limits=HERE)
A, B = picture(1), picture(2)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def web():
    web = Web()
    yield web
    web.close()


@pytest.fixture
def store(tmp_path):
    return DiskStore(tmp_path / "store")


def files(store: DiskStore) -> dict[str, bytes]:
    """The files of a store by their names; no other files are in it."""
    found = {p.name: p.read_bytes() for p in (store.directory / "files").rglob("*") if p.is_file()}
    assert list((store.directory / "aside").iterdir()) == []
    return found


def fetch(store: DiskStore, *urls: str | Remote, how: Fetching = QUICK):
    remotes = [one if isinstance(one, Remote) else Remote(one) for one in urls]
    report = store.fetch(remotes, how)
    assert report.done == report.asked
    return report


def test_pictures_are_kept_once_under_the_hash_of_their_bytes(store, web):
    urls = [web.add("/a.png", A), web.add("/same.png", A), web.add("/b.png?x=1#y", B)]
    web.add("/b.png?x=1", B)
    report = fetch(store, *urls, urls[0])
    assert (report.asked, report.fetched, report.dead) == (3, 3, 0)
    assert report.size == 2 * len(A) + len(B)
    assert files(store) == {sha256(A): A, sha256(B): B}
    assert store.read(urls[1], sha256(A).upper()) == A
    assert np.array_equal(store.load(urls[2]), open_picture(B))
    assert np.array_equal(Picture(Remote(urls[0])).load(store), open_picture(A))
    assert "molmo_ros" in web.headers[0]["User-Agent"]


def test_what_is_here_is_not_asked_for_again_by_a_new_store(store, web):
    url = web.add("/a.png", A)
    fetch(store, url)
    report = fetch(DiskStore(store.directory), url)
    assert (report.here, report.fetched, web.times) == (1, 0, {"/a.png": 1})


def test_a_picture_that_was_never_fetched_says_how_to_fetch_it(store):
    with pytest.raises(PictureError, match=r"http://x/a\.png: not in .*: molmo collect"):
        store.read("http://x/a.png")


def test_a_file_with_another_hash_serves_only_those_who_want_no_hash(store, web):
    url = web.add("/a.png", A)
    report = fetch(store, Remote(url, sha256(B)))
    assert (report.fetched, report.dead) == (0, 1)
    assert report.reasons == {"another file than the data set was made of": 1}
    with pytest.raises(DeadLinkError, match="another file"):
        store.read(url, sha256(B))
    assert store.read(url) == A
    again = fetch(store, Remote(url, sha256(B)))
    assert (again.dead, again.known, web.times["/a.png"]) == (1, 1, 1)


def test_a_file_with_the_published_hash_is_kept_whatever_it_is(store, web):
    broken = A[:100]
    url = web.add("/a.png", broken)
    report = fetch(store, Remote(url, sha256(broken)))
    assert (report.fetched, report.truncated) == (1, 0)
    assert store.read(url) == broken


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([status(404)], "404 Not Found"),
        ([status(410)], "410 Gone"),
        ([status(204)], "204 No Content"),
        ([b"<html>Not here any more</html>"], "no picture, or of a kind that Pillow cannot read"),
        ([b""], "empty, 0 bytes"),
        ([b"\xff\xd8\xff\xe0 and no more"], "cannot be decoded"),
        ([endless], "larger than 1 MB"),
        ([lambda handler: handler.begin(200, 2_000_000)], "larger than 1 MB"),
    ],
)
def test_what_a_server_says_for_sure_is_believed_at_once(store, web, answers, reason):
    url = web.add("/a.png", *answers)
    how = replace(QUICK, limits=replace(HERE, size=1_000_000))
    report = fetch(store, url, how=how)
    assert (report.dead, web.times["/a.png"]) == (1, 1)
    assert list(report.reasons) == [reason]
    with pytest.raises(DeadLinkError, match=f"dead since 2.*: {reason}"):
        store.read(url)
    assert (fetch(store, url, how=how).known, web.times["/a.png"]) == (1, 1)
    assert files(store) == {}


@pytest.mark.parametrize(
    "trouble", [status(500), status(503), status(429), reset, cut_off(A, 50), cut_off(A, 0)]
)
def test_trouble_that_passes_costs_an_attempt(store, web, trouble):
    url = web.add("/a.png", trouble, trouble, A)
    report = fetch(store, url)
    assert (report.fetched, report.truncated, web.times["/a.png"]) == (1, 0, 3)
    assert files(store) == {sha256(A): A}


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(status(502), "502 Bad Gateway"), (reset, "the connection broke")],
)
def test_trouble_that_stays_is_looked_at_again_a_day_later(store, web, trouble, reason):
    url = web.add("/a.png", trouble)
    report = fetch(store, url)
    assert (report.dead, web.times["/a.png"]) == (1, QUICK.attempts)
    assert list(report.reasons) == [reason]
    dead = store.state(url)
    assert isinstance(dead, Dead)
    assert QUICK.is_due(replace(dead, at=time() - 1.1 * DAY_S))
    assert not QUICK.is_due(replace(dead, at=time() - 0.9 * DAY_S))
    sure = replace(dead, is_sure=True)
    assert QUICK.is_due(replace(sure, at=time() - 31 * DAY_S))
    assert not QUICK.is_due(replace(sure, at=time() - 29 * DAY_S))


def test_a_dead_link_is_tried_again_after_its_days(store, web):
    url = web.add("/a.png", status(404), A)
    fetch(store, url)
    report = fetch(store, url, how=replace(QUICK, dead_days=0))
    assert (report.fetched, report.known) == (1, 0)
    assert store.read(url) == A


def test_a_server_that_asks_to_wait_is_left_alone_meanwhile(store, web):
    urls = [web.add("/busy.png", status(429, Retry_After="1"), A)]
    urls += [web.add(f"/{i}.png", picture(i)) for i in range(8)]
    how = replace(QUICK, jobs=1)
    began = time()
    report = fetch(store, *urls, how=how)
    assert report.fetched == 9
    before = web.asked.index("/busy.png")
    assert time() - began > 0.95  # not a speed: the least that the server asked for
    assert len(web.asked) == 10
    assert web.asked.count("/busy.png") == 2
    assert before < len(web.asked) - 1


def test_a_busy_server_that_names_no_time_is_left_alone_by_all(store, web):
    busy = [hold(web, lambda: len(web.asked) >= 2, status(429))] * 2
    urls = [web.add(f"/{i}.png", *busy, picture(i)) for i in range(2)]
    report = fetch(store, *urls)
    assert (report.fetched, len(web.asked)) == (2, 6)


def test_a_server_that_asks_for_too_long_a_wait_is_left_for_another_day(store, web):
    urls = [web.add(f"/{i}.png", status(503, Retry_After="86400")) for i in range(5)]
    report = fetch(store, *urls, how=replace(QUICK, jobs=1))
    assert (report.dead, len(web.asked)) == (5, 1)
    assert not any(store.state(url).is_sure for url in urls)


def test_redirects_are_followed_but_not_round_and_round(store, web):
    to = web.add("/a.png", A)
    url = web.add("/moved", redirect(to))
    loop = web.add("/loop", redirect("/loop"))
    report = fetch(store, url, loop)
    assert (report.fetched, report.dead) == (1, 1)
    assert list(report.reasons) == ["redirected more than 5 times"]
    assert web.times["/loop"] == 6
    assert store.read(url) == A


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_that_breaks_off_is_kept_and_said_to(store, web, kind):
    data = picture(3, kind, side=64)
    part = data[: len(data) // 2]
    urls = [web.add("/short", part), web.add("/never-whole", cut_off(data, len(part)))]
    report = fetch(store, *urls)
    assert (report.fetched, report.truncated) == (2, 2)
    assert web.times == {"/short": 1, "/never-whole": QUICK.attempts}
    lines = map(json.loads, store.index.path.read_text().splitlines())
    assert all(line["truncated"] for line in lines)
    for url in urls:
        assert store.load(url).shape == (64, 64, 3)


def test_a_part_of_a_file_with_a_known_hash_is_not_kept(store, web):
    data = picture(3, side=64)
    report = fetch(store, Remote(web.add("/a.png", cut_off(data, 5000)), sha256(data)))
    assert (report.fetched, report.dead) == (0, 1)
    assert files(store) == {}


def raw(data: bytes):
    """Sends bytes that need not be HTTP, and closes."""

    def answer(handler):
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff not HTTP \r\n\r\n",
        b"HTTP/1.1 999\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        OK + b"Content-Length: many\r\n\r\nabc",
        OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"Content-Encoding: br, zstd, x\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"X: \xff\xfe\r\n : \r\nContent-Length: 3\r\n\r\nabc",
        OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 429 Busy\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Busy\r\nRetry-After: Mon, 99 Foo 2026\r\nContent-Length: 0\r\n\r\n",
        *[
            MOVED + place + b"\r\n\r\n"
            for place in (
                *(b"", b"http://", b"http://[", b"//", b"http://exa mple/", b"\xff\xfe", b"#"),
                *(b"http://127.0.0.1:99999/", b"data:image/png;base64,AA==", b"http://\xe2\x98/"),
                *(b"http://" + b"a" * 300 + b".org/", b"http://xn--/", b"?" + b"a" * 70_000),
            )
        ],
    ],
)
def test_a_server_that_talks_nonsense_costs_one_picture_and_not_the_run(store, web, data):
    report = fetch(store, web.add("/a.png", raw(data)), web.add("/b.png", B))
    assert (report.fetched, report.dead + report.refused) == (1, 1)
    assert all(report.reasons)


@pytest.mark.parametrize(("silence_s", "total_s"), [(0.2, 10), (5, 0.2)])
def test_a_slow_server_does_not_hold_a_worker_for_ever(store, web, silence_s, total_s):
    seen = []
    slow = hold(web, lambda: bool(seen), A)
    urls = [web.add("/slow.png", slow), web.add("/a.png", A)]
    limits = replace(HERE, silence_s=silence_s, total_s=total_s)
    report = fetch(store, *urls, how=replace(QUICK, jobs=1, attempts=2, limits=limits))
    with web.changed:
        seen.append(True)
        web.changed.notify_all()
    assert (report.fetched, report.dead, web.times["/slow.png"]) == (1, 1, 2)


def test_no_host_gets_more_requests_at_a_time_than_its_share(store, web):
    full = lambda: web.most >= 5 or len(web.asked) > 10  # noqa: E731
    urls = [web.add(f"/{i}.png", hold(web, full, picture(i))) for i in range(10)]
    urls.append(web.add("/last.png", hold(web, full, A), host="localhost"))
    report = fetch(store, *urls, how=replace(QUICK, jobs=20, per_host=4))
    assert report.fetched == 11
    assert web.most == 5


def test_the_limit_in_total_holds_over_all_hosts(store, web):
    hosts = ("127.0.0.1", "localhost")
    urls = [
        web.add(f"/{i}.png", hold(web, lambda: web.most >= 3, picture(i)), host=hosts[i % 2])
        for i in range(12)
    ]
    report = fetch(store, *urls, how=replace(QUICK, jobs=3, per_host=2))
    assert (report.fetched, web.most) == (12, 3)


def test_only_the_public_web_is_reached_into(store, web):
    urls = [web.add("/a.png", A), web.add("/b.png", B, host="localhost"), "http://[::1]/c.png"]
    urls += ["file:///etc/passwd", "ftp://example.org/a.png", "a.png", "http://", ""]
    urls += [
        "http://127.1/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1/",
    ]
    report = fetch(store, *urls, how=Fetching(back_off_s=0.01))
    assert (report.refused, web.asked) == (len(urls), [])
    assert report.reasons == {
        "a private address, allowed only with --private": 7,
        "only http and https are fetched": 5,
    }
    assert all(store.state(url) is None for url in urls)  # another setting may fetch them


def test_a_redirect_leads_to_no_other_scheme(store, web):
    report = fetch(store, web.add("/a.png", redirect("file:///etc/passwd")))
    assert report.refused + report.dead == 1
    assert files(store) == {}


def test_without_a_network_nothing_is_called_dead(store):
    urls = [f"http://no-such-host-{i}.invalid/a.png" for i in range(3)]
    report = fetch(store, *urls)
    assert (report.silent, report.dead) == (3, 0)
    assert report.reasons == {"no connection": 3}
    assert not store.index.path.exists()


def test_a_silent_host_among_others_that_answer_is_dead_for_a_day(store, web):
    url = "http://no-such-host.invalid/a.png"
    report = fetch(store, url, web.add("/a.png", A))
    assert (report.fetched, report.dead, report.silent) == (1, 1, 0)
    assert not store.state(url).is_sure


def test_a_server_that_is_not_there_is_known_to_be_so(store, web):
    port = web.port
    web.close()
    report = fetch(store, f"http://127.0.0.1:{port}/a.png")
    assert report.reasons == {"no connection": 1}
    assert "refused" in store.state(f"http://127.0.0.1:{port}/a.png").reason


def test_progress_is_told_after_each_picture(store, web):
    urls = [web.add(f"/{i}.png", picture(i)) for i in range(5)]
    told = []
    store.fetch(map(Remote, urls), QUICK, lambda report: told.append(report.done))
    assert told == sorted(told)
    assert set(told) == {0, 1, 2, 3, 4, 5}


COLLECT = """
import sys
from molmo_training.records import Remote
from molmo_training.store import DiskStore
from molmo_training.store_download import Limits
from molmo_training.store_fetching import Fetching
how = Fetching(jobs=2, per_host=2, back_off_s=0.01, limits=Limits(private=True))
from pathlib import Path
report = DiskStore(Path(sys.argv[1])).fetch(map(Remote, sys.argv[2:]), how)
print(report.fetched, report.here)
"""


def collector(store: DiskStore, urls: list[str]) -> subprocess.Popen[str]:
    """Another process that fetches into the same store."""
    command = [sys.executable, "-c", COLLECT, str(store.directory), *urls]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_whole_files_and_goes_on_where_it_was(store, web, how):
    opened: list[bool] = []
    first = lambda: len(web.asked) <= 8 or bool(opened)  # noqa: E731 - the others are held
    urls = [web.add(f"/{i}.png", hold(web, first, picture(i))) for i in range(20)]
    process = collector(store, urls)
    web.wait_for(lambda: len(web.asked) >= 10)
    process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode != 0
    with web.changed:
        opened.append(True)
        web.changed.notify_all()
    kept = {p.name: p.read_bytes() for p in (store.directory / "files").rglob("*") if p.is_file()}
    assert 1 <= len(kept) < 20
    assert all(sha256(data) == name for name, data in kept.items())
    before = len(web.asked)
    report = fetch(DiskStore(store.directory), *urls)
    assert (report.fetched + report.here, report.dead) == (20, 0)
    assert report.here >= 1
    assert len(web.asked) - before == report.fetched


def test_two_processes_share_the_work_and_the_store(store, web):
    urls = [web.add(f"/{i}.png", hold(web, lambda: web.most > 2, picture(i))) for i in range(30)]
    processes = [collector(store, urls) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    fetched = sum(int(out.split()[0]) for out, _ in outputs)
    assert 30 <= fetched == len(web.asked) < 45  # both ask for a picture only at the same time
    assert len(files(store)) == 30
    assert fetch(DiskStore(store.directory), *urls).here == 30


def test_a_full_disk_is_told_and_loses_nothing(store, web):
    urls = [web.add("/a.png", A), web.add("/large.png", picture(5, side=400))]
    fetch(store, urls[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            StoreError, match=r"store: cannot be written: File too large\. Nothing"
        ):
            store.fetch(map(Remote, urls), QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(store) == {sha256(A): A}
    report = fetch(store, *urls)
    assert (report.here, report.fetched) == (1, 1)


def test_a_store_needs_a_directory(tmp_path):
    (tmp_path / "store").write_text("no directory")
    with pytest.raises(StoreError, match="is a file"):
        DiskStore(tmp_path / "store")


def test_a_lost_or_damaged_file_is_not_taken_for_the_picture(store, web):
    urls = [web.add("/a.png", A), web.add("/b.png", B)]
    fetch(store, *urls)
    lost, damaged = (store.directory / "files" / h[:2] / h for h in (sha256(A), sha256(B)))
    lost.unlink()
    damaged.write_bytes(B[:-1])
    with pytest.raises(PictureError, match="is gone; fetch it again"):
        store.read(urls[0])
    with pytest.raises(PictureError, match="is damaged; delete it"):
        store.read(urls[1])
    damaged.unlink()
    assert fetch(store, *urls).fetched == 2
    assert store.read(urls[0]) == A


def test_what_is_not_here_as_wanted_is_told_before_training(store, web):
    here, gone, other = web.add("/a.png", A), web.add("/gone", status(404)), web.add("/b.png", B)
    wanted = [Remote(here, sha256(A)), Remote(gone), Remote(other, sha256(A)), Remote("http://x")]
    fetch(store, *wanted[:3])
    assert store.lacking(wanted) == {gone, other, "http://x"}
    assert store.lacking([Remote(other)]) == set()


def test_a_store_goes_to_the_workers_of_a_loader(store, web):
    url = web.add("/a.png", A)
    fetch(store, url)
    assert pickle.loads(pickle.dumps(store)).read(url) == A


def test_a_reader_sees_what_another_process_fetches_meanwhile(store, web):
    url = web.add("/a.png", A)
    reader = DiskStore(store.directory)
    with pytest.raises(PictureError):
        reader.read(url)
    fetch(store, url)
    assert reader.read(url) == A


def test_an_index_whose_last_line_was_cut_off_goes_on_behind_it(store, web):
    urls = [web.add(f"/{i}.png", picture(i)) for i in range(3)]
    fetch(store, *urls[:2])
    path = store.index.path
    path.write_bytes(path.read_bytes()[:-20])
    opened = DiskStore(store.directory)
    assert [opened.state(url) is None for url in urls].count(True) == 2
    assert fetch(opened, *urls).fetched == 2
    assert fetch(DiskStore(store.directory), *urls).here == 3


def test_damaged_lines_of_an_index_are_passed_over(tmp_path, caplog):
    good = {"url": "u", "at": "2026-01-01T00:00:00+00:00", "sha256": "ab" * 32, "bytes": 1}
    dead = {"url": "v", "at": "2026-01-01T00:00:00+00:00", "dead": "404", "sure": True}
    lines = ["{", "[]", "7", '{"url": "u"}', "\0" * 40, json.dumps(good)]
    lines += [json.dumps(dead), json.dumps(dead | {"url": "u"}), ""]
    (tmp_path / "index.jsonl").write_text("\n".join(lines))
    index = Index(tmp_path / "index.jsonl")
    assert index.find("u") == "ab" * 32  # that another process found it dead changes nothing
    assert index.find("v").date == "2026-01-01"
    assert len(caplog.records) == 5
