"""A damaged, changed, incomplete or too new bundle is refused in words that help."""

from __future__ import annotations

import json
import shutil

import pytest
from bundles import golden_bundle, tiny_bundle

import molmo_engine
from molmo_engine.bundle import MANIFEST, Bundle, BundleError


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(tiny_bundle(), tmp_path / "bundle")


def edit_manifest(bundle, **changes):
    raw = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps({**raw, **changes}))


def refusal(bundle) -> str:
    """What `open` says; loading must say the same before it runs anything."""
    with pytest.raises(BundleError) as found:
        Bundle.open(bundle)
    with pytest.raises(BundleError) as again:
        molmo_engine.load(bundle)
    assert str(again.value) == str(found.value)
    return str(found.value)


def test_a_whole_bundle_opens_and_names_all_that_is_in_it(copy):
    bundle = Bundle.open(str(copy))
    assert {*bundle.manifest.files, MANIFEST} == {path.name for path in copy.iterdir()}
    assert bundle.graph("decoder", "native").inputs[0].shape == (1, "tokens", 64)


def test_a_bundle_without_tokenizer_opens_and_says_why_it_cannot_be_asked():
    folder = golden_bundle()
    assert "tokenizer.json" not in Bundle.open(folder).manifest.files
    with pytest.raises(BundleError, match=r"has no tokenizer\.json.*molmo export CHECKPOINT"):
        molmo_engine.load(folder)


def test_a_missing_directory_names_the_export_command(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert "nowhere: is no bundle" in message
    assert f"molmo export CHECKPOINT {tmp_path / 'nowhere'}" in message


def test_every_file_is_missed_by_name(copy, tmp_path):
    for name in Bundle.open(copy).manifest.files:
        (copy / name).rename(tmp_path / "kept")
        assert f"{name}: is missing" in refusal(copy)
        (tmp_path / "kept").rename(copy / name)


def test_a_changed_byte_is_noticed_in_every_file(copy):
    for name in Bundle.open(copy).manifest.files:
        content = (copy / name).read_bytes()
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        (copy / name).write_bytes(changed)
        assert f"{name}: is damaged or was changed" in refusal(copy)
        (copy / name).write_bytes(content)


def test_a_truncated_file_is_noticed(copy):
    with (copy / "weights.safetensors").open("r+b") as file:
        file.truncate(1000)
    assert "weights.safetensors: is damaged" in refusal(copy)


def test_a_newer_format_asks_for_an_update(copy):
    edit_manifest(copy, format=3)
    assert "has bundle format 3, this version reads 2. Update molmo_ros" in refusal(copy)


def test_a_bundle_of_the_first_format_still_opens(copy):
    raw = json.loads((copy / MANIFEST).read_text())
    raw["format"] = 1
    del raw["plans"]
    (copy / MANIFEST).write_text(json.dumps(raw))
    assert Bundle.open(copy).manifest.plans == ()


@pytest.mark.parametrize("text", ["{}", '{"name": "shop", "icons": []}', '{"format": "zip"}'])
def test_the_manifest_of_other_software_is_refused(copy, text):
    (copy / MANIFEST).write_text(text)
    assert "manifest.json: is of other software" in refusal(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', '{"format": 1, "graphs": 3}'])
def test_a_damaged_manifest_is_refused(copy, text):
    (copy / MANIFEST).write_text(text)
    assert "manifest.json: is damaged" in refusal(copy)


@pytest.mark.parametrize(
    "change", [{"files": 3}, {"capacity": "many"}, {"capacity": 0}, {"plans": [{"file": "x"}]}]
)
def test_a_manifest_with_wrong_values_is_refused(copy, change):
    edit_manifest(copy, **change)
    assert "manifest.json: is damaged" in refusal(copy)


def test_a_file_without_a_hash_is_not_trusted(copy):
    files = json.loads((copy / MANIFEST).read_text())["files"]
    del files["weights.safetensors"]
    edit_manifest(copy, files=files)
    assert "has no hash of weights.safetensors" in refusal(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "plans/../../secret"])
def test_a_manifest_cannot_name_files_outside(copy, name):
    files = json.loads((copy / MANIFEST).read_text())["files"]
    edit_manifest(copy, files={**files, name: "0" * 64})
    assert "names a file outside itself" in refusal(copy)


def test_a_dialect_that_is_not_there_is_an_error(copy):
    graphs = json.loads((copy / MANIFEST).read_text())["graphs"]
    edit_manifest(copy, graphs=[graph for graph in graphs if graph["dialect"] == "compat"])
    with pytest.raises(BundleError, match="no decoder graph in the native dialect"):
        Bundle.open(copy).graph("decoder", "native")
