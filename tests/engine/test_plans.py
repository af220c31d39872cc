"""Plans in a bundle: found by builder and architecture, checked when chosen, added whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from bundles import tiny_bundle

from molmo_engine.bundle import MANIFEST, Bundle, BundleError, Plan
from molmo_engine.plans import add_plans, find_plan

ORIN = Plan(
    file="plans/SM87-fp16-10.3.0/decoder.plan",
    part="decoder",
    dialect="compat",
    builder="tensorrt 10.3.0",
    architecture="SM87",
    weights="external",
)


@pytest.fixture
def built(tmp_path):
    """A bundle with one plan, which no TensorRT ever saw: nothing here reads it."""
    directory = shutil.copytree(tiny_bundle(), tmp_path / "bundle")
    write(directory, ORIN, b"compiled")
    add_plans(directory, [ORIN])
    return directory


def write(directory, plan, content):
    (directory / plan.file).parent.mkdir(parents=True, exist_ok=True)
    (directory / plan.file).write_bytes(content)


def find(directory, builder="tensorrt 10.3.0", architecture="SM87"):
    return find_plan(Bundle.open(directory), "decoder", builder, architecture)


def test_the_plan_of_this_machine_is_found(built):
    assert find(built) == ORIN


def test_adding_keeps_other_plans_and_replaces_those_for_the_same_machine(built):
    thor = replace(ORIN, file="plans/SM110/decoder.plan", architecture="SM110")
    newer = replace(ORIN, file="plans/SM87-fp16-10.3.0/decoder-2.plan", weights="embedded")
    write(built, thor, b"for Thor")
    write(built, newer, b"compiled with weights")
    add_plans(built, [thor, newer])
    (built / ORIN.file).unlink()
    assert find(built) == newer
    assert find(built, architecture="SM110") == thor
    manifest = Bundle.open(built).manifest
    assert len(manifest.plans) == 2
    assert ORIN.file not in manifest.files
    assert [path.name for path in built.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("builder", "architecture"), [("tensorrt 10.16.0", "SM87"), ("tensorrt 10.3.0", "SM89")]
)
def test_a_foreign_plan_is_refused_with_the_command(built, builder, architecture):
    with pytest.raises(BundleError) as found:
        find(built, builder, architecture)
    wanted = f"no decoder plan for {architecture} by {builder}"
    assert wanted in str(found.value)
    assert "but for SM87 by tensorrt 10.3.0" in str(found.value)
    assert str(found.value).endswith(f"molmo build {built}")


def test_a_bundle_without_plans_says_so():
    with pytest.raises(BundleError, match="but none at all. Build it here: molmo build"):
        find(tiny_bundle())


@pytest.mark.parametrize("content", [b"compilee", b"comp", b"", None])
def test_a_damaged_plan_is_refused_before_it_is_used_and_can_be_built_again(built, content):
    write(built, ORIN, content) if content is not None else (built / ORIN.file).unlink()
    with pytest.raises(BundleError, match=r"decoder\.plan: is .* molmo build "):
        find(built)
    write(built, ORIN, b"compiled")
    add_plans(built, [ORIN])
    assert find(built) == ORIN


@pytest.mark.parametrize("name", ["../decoder.plan", "weights.safetensors", "plans/unlisted"])
def test_a_plan_stands_below_plans_and_has_a_hash(built, name):
    raw = json.loads((built / MANIFEST).read_text())
    raw["plans"][0]["file"] = name
    (built / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(BundleError, match=r"manifest\.json: is damaged"):
        Bundle.open(built)
