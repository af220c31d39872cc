"""Runs a bundle on ONNX Runtime, on the CPU: the reference, and the engine where no GPU is.

The decoder cache never moves: each cache tensor is bound as input and output of the same memory.
Steps, which are most of an answer, reuse their bindings and buffers. No torch.

C crops, P patches per crop, Q pooled patches per crop, T or n tokens, R rows of logits, D width,
V vocabulary, G key/value heads, S cache rows (capacity), K head width
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from molmo_engine.bundle import EMBEDDING, Bundle, BundleError, GraphSpec
from molmo_engine.runtime import STEP, Floats, Ints, Saved

try:
    import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]
except ImportError as error:
    raise ImportError("this engine needs onnxruntime: pip install onnxruntime") from error

NATIVE_SINCE = (1, 25)  # the first onnxruntime with a CPU kernel of TensorScatter (opset 24)


def dialects_here() -> tuple[str, ...]:
    """What the installed onnxruntime runs, the fastest first; all give the same answers."""
    version = tuple(int(part) for part in ort.__version__.split(".")[:2])
    return ("fused", "native", "compat") if version >= NATIVE_SINCE else ("compat",)


class OrtRuntime:
    """One bundle with one cache. Implements `molmo_engine.runtime.Runtime`.

    threads: for the operators; 0 = one per physical core
    dialect: "fused", "native" or "compat"; None = the fastest that is here and in the bundle
    exact:   multiply by rounded weights in fp32; otherwise ONNX Runtime rounds what meets them
             to 8 bits as well, which is faster
    """

    def __init__(
        self, bundle: Bundle, threads: int = 0, dialect: str | None = None, exact: bool = False
    ) -> None:
        dialect = dialect or _choose_dialect(bundle)
        precision = bundle.manifest.precision
        if precision == "bf16":
            raise BundleError(
                f"{bundle.directory}: bf16 runs on TensorRT only, ONNX Runtime has no kernel for "
                "it on the CPU. Export with another: molmo export CHECKPOINT BUNDLE "
                "--precision fp32"
            )
        self.name = f"onnxruntime {ort.__version__} cpu, {dialect} {precision}"
        self.capacity = bundle.manifest.capacity
        self._embedding = load_file(bundle.path(EMBEDDING))["embedding"]
        options = _options(threads, exact)
        self._vision = _session(bundle, "vision", dialect, options)
        crops, masks, *_ = bundle.graph("vision", dialect).inputs
        self._looks_once = crops.shape[0] != masks.shape[0]  # takes fewer crops than masks
        self._decoder = _session(bundle, "decoder", dialect, options)
        # A mixture of experts reads many tokens at once through a graph of its own.
        prompts = "prefill" if bundle.has_part("prefill") else None
        self._prefill = _session(bundle, prompts, dialect, options) if prompts else self._decoder
        self._caches = _caches(bundle.graph("decoder", dialect))
        self._length = 0  # tokens in the cache that stand
        self._dirty = 0  # from this row on the cache is clear
        self._steps: dict[int, _Pass] = {}  # by the number of tokens

    def encode(self, crops: Floats, masks: Floats, index: Ints, tokens: int) -> Floats:
        """(C, P, 588), (C, P), (C, Q) -> (tokens, D), zero where no feature belongs."""
        source = np.zeros(tokens, np.int64)  # 0 is the graph's row of zeros
        flat = index.ravel()
        shown = flat >= 0
        source[flat[shown]] = 1 + np.flatnonzero(shown)
        if self._looks_once and len(crops) == 2 and np.array_equal(crops[0], crops[1]):
            crops = crops[:1]  # a picture of one tile: what is seen twice is computed once
        inputs = {"crops": crops.astype(self._embedding.dtype, copy=False), "masks": masks}
        (features,) = self._vision.run(["features"], {**inputs, "source": source})
        result: Floats = features.astype(np.float32, copy=False)
        return result

    def prefill(self, ids: Ints, features: Floats | None, behind: Saved | None = None) -> Floats:
        """Forgets the last prompt and reads a new one: (T,), (T, D) -> logits (V,).

        behind: what `save` returned of tokens that come before
        """
        self._begin(behind, len(ids))
        session = self._prefill if len(ids) > STEP else self._decoder
        call = _Pass(session, self._caches, len(ids), np.array([len(ids) - 1]))
        call.embeddings[0] = self._embedding[ids]
        if features is not None:
            call.embeddings[0] += features.astype(self._embedding.dtype, copy=False)
        logits: Floats = self._run(call)[0]
        return logits

    def step(self, ids: Ints) -> Floats:
        """Reads more tokens: (n,) -> logits behind each of them (n, V)."""
        count = len(ids)
        if count not in self._steps:
            self._steps[count] = _Pass(self._decoder, self._caches, count, np.arange(count))
        call = self._steps[count]
        call.embeddings[0] = self._embedding[ids]
        return self._run(call)

    def rewind(self, length: int) -> None:
        """Forgets all but the first `length` tokens; what comes next overwrites the others."""
        assert length <= self._length, (length, self._length)
        self._length = length

    def save(self, length: int) -> Saved:
        """The first rows of all caches, copied: (caches, G, length, K)."""
        assert length <= self._length, (length, self._length)
        return np.stack([cache[0, :, :length] for cache in self._caches.values()])

    def close(self) -> None:
        """Frees sessions and caches."""
        del self._steps, self._caches, self._prefill, self._decoder, self._vision, self._embedding

    def _run(self, call: _Pass) -> Floats:
        end = self._length + call.positions.shape[1]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} are needed")
        call.positions[0] = np.arange(self._length, end)
        call.session.run_with_iobinding(call.binding)
        self._length, self._dirty = end, max(end, self._dirty)
        return call.logits

    def _begin(self, behind: npt.NDArray[Any] | None, count: int) -> None:
        """Puts what was read before in front, and clears the rows behind the new tokens.

        Masked rows weigh 0, but 0 times an overflow of the last answer would be NaN.
        """
        self._length = 0 if behind is None else behind.shape[2]
        end = self._length + count
        for number, cache in enumerate(self._caches.values()):
            cache[:, :, end : self._dirty] = 0
            if behind is not None:
                cache[0, :, : self._length] = behind[number]
        self._dirty = end


class _Pass:
    """The buffers of a decoder run over `count` tokens, bound once: logits (R, V) of some rows."""

    def __init__(
        self,
        session: ort.InferenceSession,
        caches: dict[str, npt.NDArray[Any]],
        count: int,
        rows: Ints,
    ) -> None:
        self.session = session
        shapes = {value.name: value.shape for value in session.get_inputs()}
        dtype = next(iter(caches.values())).dtype
        vocabulary = session.get_outputs()[0].shape[-1]
        self.embeddings = np.empty((1, count, shapes["embeddings"][-1]), dtype)
        self.positions = np.empty((1, count), np.int64)
        self.logits: Floats = np.empty((len(rows), vocabulary), np.float32)
        self._rows = rows
        # An OrtValue made of a numpy array on the CPU is that array's memory.
        self._values = [
            ort.OrtValue.ortvalue_from_numpy(array)
            for array in (self.embeddings, self.positions, rows, self.logits, *caches.values())
        ]
        self.binding = session.io_binding()
        *inputs, logits = self._values[:4]
        for name, value in zip(("embeddings", "positions", "rows"), inputs, strict=True):
            self.binding.bind_ortvalue_input(name, value)
        self.binding.bind_ortvalue_output("logits", logits)
        for name, value in zip(caches, self._values[4:], strict=True):
            self.binding.bind_ortvalue_input(name, value)
            self.binding.bind_ortvalue_output(f"new_{name}", value)


def _choose_dialect(bundle: Bundle) -> str:
    known = {graph.dialect for graph in bundle.manifest.graphs}
    return next((dialect for dialect in dialects_here() if dialect in known), "compat")


def _options(threads: int, exact: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if exact:
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return options


def _session(
    bundle: Bundle, part: str, dialect: str, options: ort.SessionOptions
) -> ort.InferenceSession:
    path = bundle.path(bundle.graph(part, dialect).file)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _caches(decoder: GraphSpec) -> dict[str, npt.NDArray[Any]]:
    """Keys and values of every layer, (1, G, S, K), by the name of the graph's input."""
    return {
        spec.name: np.zeros([int(size) for size in spec.shape], spec.dtype)
        for spec in decoder.inputs
        if spec.name.startswith(("keys.", "values."))
    }
