"""The machine itself: processor, memory, GPU and driver, JetPack. Reads files of Linux."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from molmo_cli.findings import Finding

ROOT = Path("/")
JETPACKS = {35: 5, 36: 6, 38: 7, 39: 7}  # by the major version of Jetson Linux (L4T)
OLDEST_JETPACK = 6  # JetPack 5 has TensorRT 8 and Python 3.8


def look_at_machine(root: Path = ROOT) -> list[Finding]:
    """root: where the machine's files are; another one in tests."""
    return [_processor(root), _memory(root), *_jetpack(root), _gpu(root)]


def _processor(root: Path) -> Finding:
    name = _value(root / "proc/cpuinfo", "model name") or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("processor", f"{name}, {cores} cores for us")


def _memory(root: Path) -> Finding:
    info = root / "proc/meminfo"
    total, free, swap = (
        int((_value(info, name) or "0 kB").split()[0]) * 1024
        for name in ("MemTotal", "MemAvailable", "SwapFree")
    )
    if not total:
        return Finding("memory", "unknown: no /proc/meminfo here")
    return Finding(
        "memory", f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free, {swap / 1e9:.1f} GB of swap"
    )


def _jetpack(root: Path) -> list[Finding]:
    """One finding on a Jetson, none elsewhere; like "# R36 (release), REVISION: 4.3, ..."."""
    path = root / "etc/nv_tegra_release"
    if not path.is_file():
        return []
    text = path.read_text()
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    if not found:
        return [Finding("JetPack", f"unknown: {path} says {text.strip()[:80]!r}")]
    linux = f"Jetson Linux {found[1]}.{found[2]}"
    version = JETPACKS.get(int(found[1]))
    if version is None:
        return [Finding("JetPack", f"{linux}, which this version does not know")]
    advice = "flash JetPack 6 or 7; its TensorRT is too old" if version < OLDEST_JETPACK else ""
    return [Finding("JetPack", f"JetPack {version} ({linux})", advice)]


def _gpu(root: Path) -> Finding:
    from molmo_engine.trt_device import DeviceError, find_gpu

    driver = _driver(root)
    try:
        gpu = find_gpu()
    except DeviceError as error:
        found = f"none that can be used, {driver or 'no NVIDIA driver'}"
        # Without a driver there is hardly a GPU, and nothing to be done.
        return Finding("GPU", found, f"{error}" if driver else "")
    free = f"{gpu.free / 1e9:.1f} of {gpu.total / 1e9:.1f} GB free"
    return Finding("GPU", f"{gpu.name}, {gpu.architecture}, {free}, {driver}")


def _driver(root: Path) -> str:
    """Empty where there is none; the file is the same on a Jetson."""
    path = root / "proc/driver/nvidia/version"
    if not path.is_file():
        return ""
    found = re.search(r"\b(\d+\.\d+(\.\d+)?)\b", path.read_text())
    return f"driver {found[1] if found else 'of unknown version'}"


def _value(path: Path, name: str) -> str | None:
    """The first "name : value" of a file in /proc."""
    if not path.is_file():
        return None
    found = re.search(rf"^{name}\s*: *(.+)$", path.read_text(), re.MULTILINE)
    return found[1].strip() if found else None
