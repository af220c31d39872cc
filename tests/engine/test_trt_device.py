"""A GPU's memory, or its double's: what is copied where, and when it is there."""

from __future__ import annotations

import numpy as np
import pytest
from double import HostDevice

from molmo_engine.trt_device import (
    ALIGNMENT,
    CudaDevice,
    DeviceError,
    DeviceMemoryError,
    available_bytes,
    find_gpu,
)


def is_gpu_there() -> bool:
    try:
        return bool(find_gpu())
    except DeviceError:
        return False


@pytest.fixture
def device():
    device = CudaDevice() if is_gpu_there() else HostDevice()
    yield device
    device.close()


def test_what_was_uploaded_is_downloaded(device):
    address = device.allocate(400)
    assert address % ALIGNMENT == 0
    sent, received = np.arange(100, dtype=np.float32), np.zeros(100, np.float32)
    device.upload(address, sent)
    device.download(received, address)
    device.synchronize()
    assert np.array_equal(received, sent)


def test_a_pitch_spreads_rows_and_gathers_them_again(device):
    address = device.allocate(3 * 64)
    whole, rows = np.zeros(48, np.int32), np.arange(12, dtype=np.int32).reshape(3, 4)
    back = np.zeros_like(rows)
    device.clear(address, 3 * 64)
    device.upload(address, rows, pitch=64)
    device.download(whole, address)
    device.download(back, address, pitch=64)
    device.synchronize()
    assert np.array_equal(whole.reshape(3, 16)[:, :4], rows)
    assert not whole.reshape(3, 16)[:, 4:].any()
    assert np.array_equal(back, rows)


def test_recorded_work_runs_when_it_is_launched(device):
    address, found = device.allocate(256), np.ones(256, np.uint8)
    device.upload(address, found)
    device.synchronize()
    graph = device.record(lambda: device.clear(address, 128))
    device.download(found, address)
    device.synchronize()
    assert found.all()
    device.launch(graph)
    device.download(found, address)
    device.synchronize()
    assert not found[:128].any()
    assert found[128:].all()


def test_too_much_memory_is_refused(device):
    with pytest.raises(DeviceMemoryError):
        device.allocate(device.gpu.total + 1)


def test_the_computer_has_some_memory():
    assert 1e6 < available_bytes() < 1e15


CALLS = {
    "allocate": (100,),
    "clear": (4096, 10),
    "upload": (4096, np.zeros((3, 4))),
    "download": (np.zeros((3, 4)), 4096, 64),
    "synchronize": (),
    "record": (lambda: None,),
    "close": (),
}


@pytest.mark.skipif(is_gpu_there(), reason="there is a GPU: the tests above use it")
@pytest.mark.parametrize("name", CALLS)
def test_without_a_driver_every_call_gets_as_far_as_cuda_itself(name):
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings")
    device = object.__new__(CudaDevice)  # its constructor asks for a GPU first
    device._cuda, device._stream = runtime, runtime.cudaStream_t(0)
    device._allocated, device._graphs = set(), []
    with pytest.raises(DeviceError, match=r"^cuda\w+: .* \(cudaError\w+\)$"):
        getattr(device, name)(*CALLS[name])
