"""`molmo fetch` against a hub on this machine: whole, broken off, refused, not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hub import Hub
from tiny import byte_tokenizer, config_for

from molmo_model.config import MolmoConfig
from molmo_model.text import load_tokenizer

pytest.importorskip("torch", reason="needs torch to know the tensors of a model")
pytest.importorskip("huggingface_hub", reason="needs huggingface_hub to fetch")
from safetensors.torch import save_file  # noqa: E402

from molmo_model.molmo import Molmo  # noqa: E402
from molmo_model.weights import published_tensors, save_model  # noqa: E402

MODEL = "somebody/small-molmo"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint in two shards, among files that nobody needs.

    The second shard is longer than what the hub's client writes to the disk at once.
    """
    folder = tmp_path_factory.mktemp("published")
    tokenizer = byte_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = config_for(tokenizer)
    model = Molmo(replace(config, decoder=replace(config.decoder, additional_vocab_size=60_000)))
    model.config.to_json(folder / "config.json")
    tensors = published_tensors(model)
    long = "model.transformer.wte.new_embedding"
    places = {name: SHARDS[name == long] for name in tensors}
    for shard in SHARDS:
        save_file({n: tensors[n].detach() for n in tensors if places[n] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "modeling_molmo.py").write_text("raise SystemExit('nobody runs this')")
    (folder / "flax_model.msgpack").write_bytes(b"0")
    return folder


@pytest.fixture
def hub(published):
    hub = Hub(MODEL, published)
    yield hub
    hub.close()


@pytest.fixture
def fetch(tmp_path):
    """Runs the program in a process of its own: the hub's address is read when it starts."""

    def run(hub_url, *arguments):
        home = {"HF_ENDPOINT": hub_url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        code = "from molmo_cli.main import main; main()"
        command = [sys.executable, "-c", code, "fetch", *map(str, arguments)]
        return subprocess.run(command, env=os.environ | home, capture_output=True, text=True)

    return run


def same(published, folder) -> bool:
    return all((folder / s).read_bytes() == (published / s).read_bytes() for s in SHARDS)


def test_a_model_arrives_checked_without_what_nobody_reads(hub, fetch, published, tmp_path):
    done = fetch(hub.url, MODEL, "--to", tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'here'}\n"
    assert "million parameters in 2 file(s)" in done.stderr
    assert same(published, tmp_path / "here")
    unwanted = {"modeling_molmo.py", "flax_model.msgpack"}
    assert set(hub.fetched()) == {file.name for file in published.iterdir()} - unwanted


def test_a_broken_connection_goes_on_within_the_file(hub, fetch, published, tmp_path):
    hub.break_once[SHARDS[1]] = 12_000_000
    done = fetch(hub.url, MODEL, "--to", tmp_path / "here")
    assert done.returncode == 0, done.stderr
    got = ("GET", SHARDS[1])
    first, second = (at for method, name, at in hub.requests if (method, name) == got)
    assert first == 0
    assert 10_000_000 < second <= 12_000_000
    assert same(published, tmp_path / "here")


def test_the_next_run_fetches_only_what_is_missing(hub, fetch, published):
    hub.refused.add(SHARDS[1])
    done = fetch(hub.url, MODEL)
    assert done.returncode == 1
    assert "not all of it arrived (Server error '503" in done.stderr
    assert done.stdout == ""
    hub.refused.clear()
    hub.requests.clear()
    done = fetch(hub.url, MODEL)
    assert done.returncode == 0, done.stderr
    assert hub.fetched() == [SHARDS[1]]
    assert same(published, Path(done.stdout.strip()))


@pytest.mark.parametrize("model_id", ["somebody/else", "no such thing"])
def test_what_the_hub_does_not_have_is_one_sentence(hub, fetch, model_id):
    done = fetch(hub.url, model_id)
    assert done.returncode == 1
    assert f"molmo: {model_id}: no directory here, and no model that the hub" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_network_it_says_so(fetch):
    done = fetch("http://127.0.0.1:9", MODEL)
    assert done.returncode == 1
    assert "Is there a network" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_directory_is_checked_where_it_is(molmo, published, tmp_path):
    assert molmo("fetch", published)[:2] == (0, f"{published}\n")
    damaged = tmp_path / "damaged"
    shutil.copytree(published, damaged)
    (damaged / SHARDS[0]).write_bytes((damaged / SHARDS[0]).read_bytes()[:-1])
    status, out, err = molmo("fetch", damaged)
    assert (status, out) == (1, "")
    assert SHARDS[0] in err
    assert molmo("fetch", published, "--to", tmp_path)[0] == 2


def test_the_fast_tokenizer_is_made_once_beside_the_vocabulary(molmo, test_data, tmp_path):
    """Of 7B-D, which is published without; its network would be too large, so a small one."""
    source = test_data / "published" / "molmo-7b-d"
    names = ("vocab.json", "merges.txt", "added_tokens.json")
    for name in names:
        shutil.copy(source / name, tmp_path)
    small = config_for(byte_tokenizer())
    size = MolmoConfig.from_json(source / "config.json").decoder.vocab_size
    decoder = replace(small.decoder, vocab_size=size, embedding_size=size)
    save_model(Molmo(replace(small, decoder=decoder)), tmp_path)
    before = load_tokenizer(tmp_path)
    assert molmo("fetch", tmp_path)[0] == 0
    made = tmp_path / "tokenizer.json"
    stamp = made.stat().st_mtime_ns
    text = ' User: naïve café — 你好 🙂\n\n  1234 <point x="12.3"> Assistant:<|endoftext|>'
    after = load_tokenizer(tmp_path)
    assert after.encode(text).ids == before.encode(text).ids
    assert after.get_vocab() == before.get_vocab()
    assert molmo("fetch", tmp_path)[0] == 0
    assert made.stat().st_mtime_ns == stamp
