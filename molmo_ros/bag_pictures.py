"""Takes pictures out of a bag, into a folder with JSON lines that say what is to be seen on them.

The pictures are one every so often, for somebody to label, or those that a file of labels names.
They are the pixels that the node would show the model. Needs no ROS installation.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from rosbags.typesys import Stores, get_typestore

from molmo_ros.bag_labels import Finder, Frame, LabelError, Row, read_labels
from molmo_ros.bags import CAMERA_INFO, Bag, BagError, Record, choose_topics
from molmo_ros.convert import to_rgb
from molmo_ros.encodings import ConvertError

DATA, TEST = "data.jsonl", "test.jsonl"
TYPES = get_typestore(Stores.ROS2_HUMBLE)  # images have been the same since

Size = tuple[int, int]  # width and height, pixels
Check = Callable[[Row, Size], object]  # raises ValueError for a row that its reader would refuse


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which images of a bag are taken.

    image:   topic; found by itself where there is only one
    every_s: seconds of recording from one picture to the next; 0 takes every image
    start_s, end_s: the part of the recording, in seconds since its first message
    """

    image: str | None = None
    every_s: float = 1.0
    start_s: float = 0.0
    end_s: float = math.inf


@dataclass(frozen=True)
class Taken:
    """What was written.

    directory: of the pictures
    lines, test_lines: in data.jsonl and in test.jsonl
    broken:    images that were skipped
    """

    topic: str
    directory: Path
    pictures: int
    lines: int
    test_lines: int
    broken: int


def take_pictures(
    bag: Path, folder: Path, selection: Selection, labels: Sequence[str], test: float = 0.0
) -> Taken:
    """Adds pictures of a bag to a folder, each with a line for each label, to be filled in.

    test:   share of the pictures, the last ones, whose lines go to test.jsonl: neighbours in time
            look alike, and a test must not have been seen
    raises: BagError; LabelError where the folder has this bag already
    """
    with Bag(bag) as reader:
        topic = _image_topic(reader, selection.image)
        rows: dict[int, list[Row]] = {}
        for frame, _ in _spaced(reader, topic, selection):
            own = {"stamp": frame.stamp, "frame": frame.number}
            rows[frame.number] = [own | {"label": one, "points": None} for one in labels or [""]]
        if not rows:
            raise BagError(f"{bag}: no image on {topic} in this part")
        return _write(reader, topic, rows, folder, test)


def take_labelled(
    bag: Path,
    folder: Path,
    file: Path,
    check: Check,
    image: str | None = None,
    test: float = 0.0,
) -> Taken:
    """Adds the pictures that a file of labels names to a folder, with these labels.

    file:   JSON lines, each with the "frame" (number on its topic, from 0) or the "stamp"
            (seconds) of an image, and what else a line of data.jsonl has
    raises: LabelError that names the line; BagError
    """
    labels = list(read_labels(file))
    with Bag(bag) as reader:
        topic = _image_topic(reader, image)
        find = Finder(bag, topic, [frame for frame, _ in _frames(reader, topic)])
        rows: dict[int, list[Row]] = {}
        places: dict[int, list[str]] = {}
        for where, row in labels:
            frame = find(where, row)
            own = {"stamp": frame.stamp, "frame": frame.number}
            rows.setdefault(frame.number, []).append(row | own)
            places.setdefault(frame.number, []).append(where)

        def checked(number: int, size: Size) -> None:
            for where, row in zip(places[number], rows[number], strict=True):
                try:
                    check(row, size)
                except ValueError as error:
                    raise LabelError(f"{where}: {error}") from error

        return _write(reader, topic, rows, folder, test, checked)


def _image_topic(bag: Bag, image: str | None) -> str:
    pictures = {
        topic: kind
        for topic, kind in bag.streams.items()  # which depth is meant is no question here
        if kind != CAMERA_INFO and ("depth" not in topic or (image and topic.startswith(image)))
    }
    return choose_topics(bag.path, pictures, image).image


def _frames(
    bag: Bag, topic: str, numbers: Mapping[int, Any] | None = None
) -> Iterator[tuple[Frame, Record]]:
    """All images of a topic, or those of some numbers, in the order of their recording."""
    for number, record in enumerate(bag.read([topic])):
        if numbers is None or number in numbers:
            stamp_ns = record.stamp_ns if len(record.cdr) >= 12 else 0
            yield Frame(number, stamp_ns or record.time_ns), record


def _spaced(bag: Bag, topic: str, selection: Selection) -> Iterator[tuple[Frame, Record]]:
    """The first image of each interval of the part."""
    last = -1
    for frame, record in _frames(bag, topic):
        time_s = 1e-9 * (record.time_ns - bag.start_ns) - selection.start_s
        if not 0 <= time_s < selection.end_s - selection.start_s:
            continue
        slot = int(time_s / selection.every_s) if selection.every_s else frame.number
        if slot != last:
            yield frame, record
        last = slot


def _write(
    bag: Bag,
    topic: str,
    rows: Mapping[int, Sequence[Row]],
    folder: Path,
    test: float,
    check: Callable[[int, Size], None] | None = None,
) -> Taken:
    """Writes pictures and lines; both are whole, or not there.

    rows:  of each image that is taken, by its number
    check: of labels, which raises; then no image may be broken either
    """
    name = bag.path.resolve().name.removesuffix(".mcap").removesuffix(".db3")
    directory = folder / name
    if directory.exists():
        raise LabelError(
            f"{directory} is there already, and maybe labelled in {folder / DATA}: name another "
            "folder, or delete both yourself"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder) as aside:
        pictures = Path(aside) / name
        pictures.mkdir()
        kept: list[list[Row]] = []
        for frame, record in _frames(bag, topic, rows):
            file = f"{frame.number:06d}.png"
            try:
                size = _save(record, pictures / file)
            except ConvertError as error:
                if check:
                    raise LabelError(f"frame {frame.number} of {topic}: {error}") from error
                continue
            if check:
                check(frame.number, size)
            kept.append([{"image": f"{name}/{file}"} | row for row in rows[frame.number]])
        if not kept:
            raise BagError(f"{bag.path}: no readable image on {topic} in this part")
        first = len(kept) - round(test * len(kept))  # of those for the test
        files = {DATA: sum(kept[:first], []), TEST: sum(kept[first:], [])}
        for file, new in files.items():
            _join(folder / file, new, Path(aside) / file)
        pictures.rename(directory)
        for file, new in files.items():
            if new:
                (Path(aside) / file).replace(folder / file)
    broken = len(rows) - len(kept)
    return Taken(topic, directory, len(kept), len(files[DATA]), len(files[TEST]), broken)


def _save(record: Record, path: Path) -> Size:
    """Writes the picture of a message; raises ConvertError."""
    try:
        message = TYPES.deserialize_cdr(record.cdr, record.kind)
    except Exception as error:  # on damaged bytes the parser fails in any way
        raise ConvertError(f"the message is damaged ({type(error).__name__})") from error
    rgb = to_rgb(message)
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise LabelError(f"{path}: cannot be written: is the disk full?")
    return rgb.shape[1], rgb.shape[0]


def _join(old: Path, rows: Sequence[Row], new: Path) -> None:
    """Writes the lines of a file, which may be missing, and then these rows to another file."""
    before = old.read_text(encoding="utf-8") if old.exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    new.write_text(before + "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
