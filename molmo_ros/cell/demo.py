"""The demo: a camera over a table, the Molmo node, questions, streamed answers, waypoints.

Starts the nodes as processes of their own and talks to them as any robot program would. Ends by
itself; what goes wrong is an exception with a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from molmo_ros.cell.children import Children
from molmo_ros.cell.guest import SEED, visit
from molmo_ros.cell.recording import Recording
from molmo_ros.cell.truth import Truth
from molmo_ros.client import MolmoClient, MolmoError

NAMESPACE = "/demo"
MOLMO = "molmo_ros.molmo_node"
FRAME_WAIT_S = 10.0  # the first frame may still be on its way when the first question is asked
PROMPTS_FOR_RECORDINGS = (
    "Point to the objects.",
    "How many objects are there?",
    "Describe the table.",
)


class DemoError(RuntimeError):
    """Why the demo could not be shown."""


def run_demo(
    *,
    seed: int | None = None,
    bag: Path | None = None,
    prompts: Sequence[str] = (),
    output: Path = Path("demo_output"),
    bundle: Path | None = None,
) -> None:
    """Shows the whole chain once and prints it; annotated pictures and logs go to `output`.

    seed: which scene the simulated camera sees; bag: plays this recorded camera instead;
    prompts: asked instead of the usual three; bundle: the model, Molmo-tiny if none is given
    """
    seed = SEED if seed is None else seed
    output.mkdir(parents=True, exist_ok=True)
    _prepare_transport()
    with Children(NAMESPACE, output) as children:
        _start_molmo(children, bundle or shipped("assets/molmo-tiny/bundle"), bag)
        truth = _start_camera(children, seed, bag)
        usual = truth.questions() if truth else PROMPTS_FOR_RECORDINGS
        try:
            with MolmoClient(name=f"{NAMESPACE}/molmo") as molmo:
                visit(molmo, prompts or usual, truth, output)
        except MolmoError as error:
            raise DemoError(f"{error}. {children.last_words(MOLMO)}") from error


def shipped(path: str) -> Path:
    """A file or folder that comes with this package: in the checkout, or where it is installed."""
    places = [Path(__file__).resolve().parents[2]]
    with suppress(PackageNotFoundError):
        places.append(Path(get_package_share_directory("molmo_ros")))
    for place in places:
        if (place / path).exists():
            return place / path
    raise DemoError(f"no {path} in {' or '.join(map(str, places))}: the checkout is incomplete")


def _prepare_transport() -> None:
    """Keeps the demo on this machine, and makes Fast DDS carry whole pictures.

    Its default shared-memory segment is smaller than one picture: best-effort ones get lost.
    """
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    profile = shipped("config/fastdds_big_shm.xml")
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))


def _start_molmo(children: Children, bundle: Path, bag: Path | None) -> None:
    parameters = {"bundle": bundle, "frame_wait_s": FRAME_WAIT_S}
    remaps = {}
    if bag:
        topics = Recording(bag).topics
        parameters["image_transport"] = "compressed" if topics.compressed else "raw"
        streams = {"image": topics.image, "depth": topics.depth, "camera_info": topics.camera_info}
        # The player publishes below the demo's namespace: nobody takes it for a real camera.
        remaps = {name: topic.lstrip("/") for name, topic in streams.items() if topic}
    print(f"Molmo: {bundle}", flush=True)
    children.start(MOLMO, parameters=parameters, remaps=remaps)


def _start_camera(children: Children, seed: int, bag: Path | None) -> Truth | None:
    """Starts what stands for the camera; what it really sees, where that is known."""
    if bag:
        print(f"Camera: the recording {bag}, in a loop", flush=True)
        children.start("molmo_ros.cell.bag_player", parameters={"bag": bag})
        return None
    children.start("molmo_ros.cell.camera_node", parameters={"seed": seed})
    truth = Truth(seed)
    names = ", ".join(thing.name for thing in truth.scene.objects)
    print(f"Camera: simulated; on its table (scene {seed}): {names}", flush=True)
    return truth
