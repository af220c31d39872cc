"""Stored tensors are read as they were written; bfloat16 rounds as torch does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from molmo_engine.bundle import BundleError
from molmo_engine.trt_numbers import narrowed, numpy_type, open_tensors, widened


def test_bfloat16_is_rounded_as_torch_rounds_it():
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(100_000) * 10.0 ** rng.integers(-30, 30, 100_000)).astype("f4")
    ties = (np.arange(1 << 16, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    values = np.concatenate([values, ties[np.isfinite(ties)]])
    wanted = torch.from_numpy(values).bfloat16()
    found = narrowed(values, numpy_type("bfloat16"))
    assert np.array_equal(found, wanted.view(torch.uint16).numpy())
    assert np.array_equal(widened(found), wanted.float().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_types_are_numpys(dtype):
    values = np.linspace(-3, 3, 1001, dtype=np.float32)
    found = narrowed(values, numpy_type(dtype))
    assert found.dtype == dtype
    assert np.array_equal(widened(found), values.astype(dtype).astype(np.float32))


def test_a_file_is_read_tensor_by_tensor(tmp_path):
    tensors = {
        "a": torch.randn(3, 5, dtype=torch.bfloat16),
        "b": torch.randint(-8, 8, (4,), dtype=torch.int8),
        "c": torch.randn(2, 2),
    }
    save_file(tensors, tmp_path / "file", metadata={"by": "us"})
    found = open_tensors(tmp_path / "file")
    assert found.keys() == tensors.keys()
    assert np.array_equal(found["a"], tensors["a"].view(torch.uint16).numpy())
    assert np.array_equal(found["b"], tensors["b"].numpy())
    assert np.array_equal(found["c"], tensors["c"].numpy())


def test_a_type_that_we_never_write_is_refused(tmp_path):
    save_file({"a": torch.zeros(3, dtype=torch.int64)}, tmp_path / "file")
    with pytest.raises(BundleError, match="a is of type I64"):
        open_tensors(tmp_path / "file")
