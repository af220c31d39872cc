"""Runs the plans of a bundle on an NVIDIA GPU.

Everything is allocated, bound, warmed up and recorded when it is loaded. The caches never move:
each is bound as input and output of the same memory, in the engine that reads prompts and in the
one that decodes. Embeddings are looked up here, a row per token. No torch.

C crops, P patches per crop, Q pooled patches per crop, T or n tokens, D width, V vocabulary,
G key/value heads, S cache rows (capacity), K head width
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from molmo_engine.bundle import EMBEDDING, WEIGHTS, Bundle
from molmo_engine.plans import find_plan
from molmo_engine.runtime import STEP, Floats, Ints, Saved
from molmo_engine.trt_api import Library, TensorRt
from molmo_engine.trt_cache import Cache
from molmo_engine.trt_device import CudaDevice, Device, DeviceMemoryError
from molmo_engine.trt_memory import running_memory
from molmo_engine.trt_numbers import narrowed, open_tensors, widened
from molmo_engine.trt_pass import EXPECTED, LARGEST, Part, Pass
from molmo_engine.trt_weights import upload_weights

Array = npt.NDArray[Any]


def open_trt(bundle: Bundle, library: str) -> TrtRuntime:
    """A bundle's plans for this machine, ready to answer; `library` is one of trt_api.LIBRARIES.

    Raises TensorRtError or DeviceError for what this machine lacks, BundleError without a plan.
    """
    return TrtRuntime(bundle, TensorRt(library), CudaDevice())


class TrtRuntime:
    """One bundle with one cache. Implements `molmo_engine.runtime.Runtime`."""

    def __init__(self, bundle: Bundle, library: Library, device: Device) -> None:
        """Takes the device over: closes it in the end, and also when this raises."""
        self._bundle, self._library, self._device = bundle, library, device
        self.capacity = bundle.manifest.capacity
        self._length = 0  # tokens in the cache that stand
        names = [part for part in ("vision", "decoder", "prefill") if bundle.has_part(part)]
        try:
            self._plans = {
                name: find_plan(bundle, name, library.builder, device.gpu.architecture)
                for name in names
            }
            self.name = self._describe()
            self._load()
            self._open()
            self._warm_up()
        except DeviceMemoryError as error:
            self.close()
            raise DeviceMemoryError(f"{error}. {self._needs()}") from error
        except BaseException:
            self.close()
            raise

    def encode(self, crops: Floats, masks: Floats, index: Ints, tokens: int) -> Floats:
        """Image features along the prompt: (C, P, 588), (C, P), (C, Q) -> (T, D)."""
        source = np.zeros(tokens, np.int64)  # 0 is the graph's row of zeros
        flat = index.ravel()
        shown = flat >= 0
        source[flat[shown]] = 1 + np.flatnonzero(shown)
        self._vision.resize(crops=len(crops), views=len(masks), tokens=tokens)
        self._vision.run(crops=narrowed(crops, self._dtype), masks=masks, source=source)
        features = np.empty((tokens, self._embedding.shape[1]), self._dtype)
        self._vision.read("features", features)
        self._device.synchronize()
        return widened(features)

    def prefill(self, ids: Ints, features: Floats | None, behind: Saved | None = None) -> Floats:
        """Forgets the last prompt and reads a new one: (T,), (T, D) -> logits (V,).

        behind: what `save` returned of tokens that come before
        """
        self._length = 0 if behind is None else behind.shape[2]
        self._cache.clear()
        if behind is not None:
            self._cache.restore(behind)
        for begin in range(0, len(ids), self._longest):
            piece = slice(begin, begin + self._longest)
            rows = widened(self._embedding[ids[piece]])
            if features is not None:
                rows = rows + features[piece]
            self._reading.resize(tokens=len(rows), rows=1)
            last = np.array([len(rows) - 1])
            self._advance(self._reading, len(rows), narrowed(rows, self._dtype), rows=last)
            self._device.synchronize()
        logits: Floats = self._wait(self._reading, 1)[0]
        return logits

    def step(self, ids: Ints) -> Floats:
        """Reads more tokens: (n,) -> logits behind each of them (n, V)."""
        run = self._steps[len(ids)]
        self._advance(run, len(ids), self._embedding[ids])
        return self._wait(run, len(ids))

    def rewind(self, length: int) -> None:
        """Forgets all but the first `length` tokens; what comes next overwrites the others."""
        assert length <= self._length, (length, self._length)
        self._length = length

    def save(self, length: int) -> Saved:
        """The first rows of all caches, copied to the host: (caches, G, length, K)."""
        assert length <= self._length, (length, self._length)
        return self._cache.save(length)

    def close(self) -> None:
        """Frees contexts, engines and all memory of the device."""
        for name in ("_vision", "_reading", "_steps", "_parts", "_cache", "_embedding"):
            self.__dict__.pop(name, None)  # contexts before their engines
        self._device.close()

    def _advance(self, run: Pass, count: int, embeddings: Array, **inputs: Array) -> None:
        """Puts `count` tokens behind those that stand; embeddings (count, D)."""
        end = self._length + count
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} are needed")
        positions = np.arange(self._length, end)
        run.run(embeddings=embeddings, positions=positions, **inputs)
        self._length = end

    def _wait(self, run: Pass, rows: int) -> Floats:
        """The logits of a run, when it is done: (rows, V)."""
        run.read("logits", self._logits[:rows])
        self._device.synchronize()
        return self._logits[:rows]

    def _describe(self) -> str:
        """What computes, for logs and answers."""
        plan, precision = self._plans["decoder"], self._bundle.manifest.precision
        return (
            f"{self._library.builder} {self._device.gpu.name}, {plan.dialect} {precision}, "
            f"{plan.weights} weights"
        )

    def _load(self) -> None:
        """Reads plans, weights and tables; allocates caches and scratch memory."""
        bundle, library, device = self._bundle, self._library, self._device
        needed = running_memory(bundle, self._plans["decoder"].dialect)
        if needed.weights + needed.caches > device.gpu.free:
            raise DeviceMemoryError("the model does not fit")
        self._embedding = open_tensors(bundle.path(EMBEDDING))["embedding"]
        self._dtype = self._embedding.dtype
        self._logits = np.empty((STEP, bundle.config.decoder.embedding_size), np.float32)
        self._parts = {
            name: Part(library, device, library.read(bundle.path(plan.file)), graph)
            for name, plan in self._plans.items()
            for graph in (bundle.graph(name, plan.dialect),)
        }
        self._cache = Cache(device, self._parts["decoder"].spec)
        stored = open_tensors(bundle.path(WEIGHTS))
        wanted = [name for part in self._parts.values() for name in part.weights]
        shared = upload_weights(device, stored, wanted) | self._cache.addresses
        scratch = max(part.scratch for part in self._parts.values())
        address = device.allocate(max(scratch, 1))
        for part in self._parts.values():
            part.bind(shared, (address, scratch))

    def _open(self) -> None:
        """Opens the contexts: one for pictures, one for prompts, one for each width of steps."""
        vision, decoder = self._parts["vision"], self._parts["decoder"]
        reading = self._parts.get("prefill", decoder)
        self._vision = vision.open(0, vision.buffers(0))
        self._reading = reading.open(0, reading.buffers(0))
        self._longest = reading.sizes(0, LARGEST)["tokens"]
        answering = decoder.engine.num_optimization_profiles - 1  # behind the prompts' own
        buffers = decoder.buffers(answering)
        self._steps = {}
        for count in range(1, STEP + 1):
            self._steps[count] = decoder.open(answering, buffers)
            self._steps[count].resize(tokens=count, rows=count)
        self._device.upload(buffers["rows"], np.arange(STEP))
        self._device.synchronize()

    def _warm_up(self) -> None:
        """Runs everything once, as TensorRT wants before it is recorded, and records the steps."""
        sizes, vision = self._parts["vision"].sizes(0, EXPECTED), self._bundle.config.crops
        crops = np.zeros((sizes["crops"], vision.patches, vision.patch_values), np.float32)
        index = np.full((sizes["crops"], vision.pooled), -100)
        self.encode(crops, np.ones(crops.shape[:2], np.float32), index, sizes["tokens"])
        expected = self._parts.get("prefill", self._parts["decoder"]).sizes(0, EXPECTED)
        self.prefill(np.zeros(expected["tokens"], np.int64), None)
        for count, run in self._steps.items():
            self.rewind(0)
            self.step(np.zeros(count, np.int64))
            if self._library.records_graphs:
                run.record()
        self.rewind(0)

    def _needs(self) -> str:
        """What to do about too little memory, with the numbers."""
        gpu = self._device.gpu
        needed = running_memory(self._bundle, self._plans["decoder"].dialect)
        return (
            f"{self._bundle.directory} takes about {needed}, and {gpu.name} had "
            f"{gpu.free / 1e9:.2f} of {gpu.total / 1e9:.2f} GB free. End other programs, or "
            "export with --precision int4 or a smaller --capacity"
        )
