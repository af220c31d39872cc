"""What the CPU's runtime does beyond computing: picks a dialect, looks once, refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bundles import tiny_bundle, tiny_checkpoint
from scripted import RGB

from molmo_engine.bundle import Bundle, BundleError
from molmo_engine.ort_runtime import OrtRuntime, dialects_here
from molmo_model.image import prepare_image
from molmo_model.torch_runtime import TorchRuntime


class Watched:
    """A session that remembers how many crops it was given."""

    def __init__(self, session) -> None:
        self.session, self.crops = session, []

    def run(self, names, inputs):
        self.crops.append(len(inputs["crops"]))
        return self.session.run(names, inputs)


@pytest.mark.parametrize("dialect", dialects_here())
def test_what_two_crops_share_is_computed_once(dialect):
    bundle = Bundle.open(tiny_bundle())
    image = prepare_image(RGB, bundle.config)
    inputs = image.crops, image.masks, image.index, 1 + len(image.tokens)
    changed = image.crops.copy()
    changed[1, 0, 0] += 1
    runtime = OrtRuntime(bundle, threads=1, dialect=dialect)
    runtime._vision = watched = Watched(runtime._vision)
    wanted = TorchRuntime.from_checkpoint(tiny_checkpoint()).encode(*inputs)
    found = runtime.encode(*inputs)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert (runtime.encode(changed, *inputs[1:]) != found).any()
    assert watched.crops == [1, 2]


def test_the_fastest_dialect_is_taken_that_is_here_and_in_the_bundle():
    bundle = Bundle.open(tiny_bundle())
    assert dialects_here()[0] in OrtRuntime(bundle, threads=1).name
    older = tuple(graph for graph in bundle.manifest.graphs if graph.dialect == "compat")
    bundle.manifest = replace(bundle.manifest, graphs=older)
    assert "compat" in OrtRuntime(bundle, threads=1).name


def test_bf16_is_refused_with_what_to_do():
    bundle = Bundle.open(tiny_bundle())
    bundle.manifest = replace(bundle.manifest, precision="bf16")
    with pytest.raises(BundleError, match=r"TensorRT only.*--precision fp32"):
        OrtRuntime(bundle)
