"""The plans of a bundle: which of them this machine can run, and how new ones are added.

A plan is of use only to the version of TensorRT that built it, on the architecture it was built
for. Knows no TensorRT: versions and architectures are words that are compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from molmo_engine.bundle import (
    FORMAT,
    Bundle,
    BundleError,
    Plan,
    check_file,
    read_manifest,
    sha256,
    write_manifest,
)


def find_plan(bundle: Bundle, part: str, builder: str, architecture: str) -> Plan:
    """The plan of a part for this machine, compared with its hash; BundleError without one."""
    for plan in bundle.manifest.plans:
        if _purpose(plan) == (part, builder, architecture):
            check_file(bundle.directory, plan.file, bundle.manifest.files[plan.file])
            return plan
    plans = [plan for plan in bundle.manifest.plans if plan.part == part]
    made = sorted({f"{plan.architecture} by {plan.builder}" for plan in plans})
    raise BundleError(
        f"{bundle.directory}: has no {part} plan for {architecture} by {builder}, which is what "
        f"this machine runs, but {'for ' + ', '.join(made) if made else 'none at all'}. "
        f"Build it here: molmo build {bundle.directory}"
    )


def add_plans(directory: str | os.PathLike[str], plans: Iterable[Plan]) -> None:
    """Enters plans, whose files are in place, into the manifest instead of those they replace.

    One plan stands for each part, builder and architecture. The files of replaced plans stay.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    added = {_purpose(plan): plan for plan in plans}
    kept = {_purpose(plan): plan for plan in manifest.plans} | added
    replaced = {plan.file for plan in manifest.plans} - {plan.file for plan in kept.values()}
    files = {name: digest for name, digest in manifest.files.items() if name not in replaced}
    files |= {plan.file: sha256(directory / plan.file) for plan in added.values()}
    write_manifest(
        directory, replace(manifest, plans=tuple(kept.values()), files=files, format=FORMAT)
    )


def _purpose(plan: Plan) -> tuple[str, str, str]:
    return plan.part, plan.builder, plan.architecture
