"""Points the CMake files of the ROS wheels at this virtual environment's headers.

The wheels carry the paths of the machine that built them (/opt/python/...). Run it with the
environment's own Python, once after the wheels are installed; a second run changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

BUILDER = r"/opt/python/cp\d+-cp\d+"
HEADERS = {
    BUILDER + r"/lib/python[\d.]+/site-packages/numpy/_core/include": np.get_include(),
    BUILDER + r"/include/python[\d.]+": sysconfig.get_path("include"),
}


def main() -> None:
    """Patches every *.cmake below share/."""
    for file in Path(sys.prefix, "share").glob("*/cmake/*.cmake"):
        text = patched = file.read_text()
        for builders, ours in HEADERS.items():
            patched = re.sub(builders, ours, patched)
        if patched != text:
            # A new file: uv hard-links its cache, writing in place would change every later venv.
            file.unlink()
            file.write_text(patched)


if __name__ == "__main__":
    main()
