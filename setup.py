"""Installs the Python parts without ROS: training, export, simulation and the command line.

With ROS 2, `colcon build` (CMakeLists.txt) installs the same folders and generates the interfaces.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Folder X/ is imported as molmo_X: no generic `engine` or `model` in a shared site-packages.
FOLDERS = {
    "molmo_ros": "molmo_ros",
    "molmo_engine": "engine",
    "molmo_model": "model",
    "molmo_training": "training",
    "molmo_sim": "sim",
    "molmo_cli": "cli",
}


def version() -> str:
    """The version of package.xml, the one place where it is written."""
    found = re.search(r"<version>([^<]+)</version>", (ROOT / "package.xml").read_text())
    if found is None:
        raise RuntimeError("package.xml: no <version> in it")
    return found[1]


def packages() -> list[str]:
    """All folders as packages under their import names, sub-folders included."""
    names = []
    for package, folder in FOLDERS.items():
        names += [package, *(f"{package}.{sub}" for sub in find_packages(ROOT / folder))]
    return names


setup(version=version(), packages=packages(), package_dir=FOLDERS)
