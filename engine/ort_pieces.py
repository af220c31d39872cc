"""Runs a piece of a graph on ONNX Runtime and forgets it: what it needs is what that piece needs.

Pieces lie in no file; their weights stay in the weight file of their bundle and are mapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]
except ImportError as error:
    raise ImportError("this engine needs onnxruntime: pip install onnxruntime") from error

Values = Mapping[str, npt.NDArray[Any]]


def run_piece(model: bytes, folder: Path, values: Values) -> dict[str, npt.NDArray[Any]]:
    """All outputs of a serialised graph by name.

    folder: where its weights lie
    values: its inputs by name, among others; caches are written in place
    """
    session = ort.InferenceSession(model, _options(folder), providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    inputs = {
        spec.name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values[spec.name]))
        for spec in session.get_inputs()
    }
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    outputs = [spec.name for spec in session.get_outputs()]
    for name in outputs:
        cache = inputs.get(name.removeprefix("new_"))
        if cache is None:
            binding.bind_output(name, "cpu")
        else:
            binding.bind_ortvalue_output(name, cache)
    session.run_with_iobinding(binding)
    return dict(zip(outputs, binding.copy_outputs_to_cpu(), strict=True))


def _options(folder: Path) -> ort.SessionOptions:
    options = ort.SessionOptions()
    for key, value in (
        ("session.model_external_initializers_file_folder_path", str(folder)),
        ("session.disable_prepacking", "1"),  # a second copy of the weights, used once
        ("session.qdq_matmulnbits_accuracy_level", "1"),  # activations are not rounded
    ):
        options.add_session_config_entry(key, value)
    return options
