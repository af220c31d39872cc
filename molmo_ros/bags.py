"""Reads bags (mcap or sqlite3) and finds a camera's topics in them.

Messages stay serialised. Knows nothing of nodes, and nothing of what the pictures show.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
PACKED_IMAGE, PACKED_DEPTH = "/compressed", "/compressedDepth"  # as image_transport names them
METADATA = "metadata.yaml"  # makes a directory a bag
MCAP_END = b"\x89MCAP0\r\n"


class BagError(ValueError):
    """A bag in which no camera can be found, or that cannot be read or written."""


@dataclass(frozen=True)
class Record:
    """One message: its topic and type, when it was recorded, and its CDR bytes."""

    topic: str
    kind: str
    time_ns: int
    cdr: bytes

    @property
    def stamp_ns(self) -> int:
        """The stamp of its header; its type's first field must be a std_msgs/Header."""
        return read_stamp_ns(self.cdr)


class Bag:
    """A bag that is open for reading: `with Bag(path) as bag`."""

    def __init__(self, path: Path) -> None:
        """path: a bag directory, or a single .mcap or .db3 file; raises BagError."""
        self.path = path
        try:
            self._reader = Reader(path)
            self._reader.open()
        except Exception as error:  # on damaged bytes the parser fails in any way
            why = str(error) or type(error).__name__
            raise BagError(f"{path}: not a readable ROS 2 bag ({why}){_advice(path)}") from error
        self.connections: Sequence[Any] = tuple(self._reader.connections)
        # Topic to type, of those that have messages.
        self.streams = {one.topic: one.msgtype for one in self.connections if one.msgcount}
        self.start_ns = self._reader.start_time
        self.end_ns = self._reader.end_time  # behind the last message

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def read(
        self, topics: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[Record]:
        """The messages of some topics in the order of their recording; end_ns is not included."""
        streams = {topic: kind for topic, kind in self.streams.items() if topic in topics}
        wanted = [one for one in self.connections if streams.get(one.topic) == one.msgtype]
        if not wanted:
            return
        try:
            for one, time_ns, cdr in self._reader.messages(wanted, start_ns, end_ns):
                yield Record(one.topic, one.msgtype, time_ns, bytes(cdr))
        except Exception as error:  # as above
            why = str(error) or type(error).__name__
            raise BagError(
                f"{self.path}: damaged ({why}). `mcap recover` saves what an .mcap still holds"
            ) from error


@dataclass(frozen=True)
class Candidates:
    """Topics that a camera may have published, by name; those of raw images come first."""

    image: tuple[str, ...]
    depth: tuple[str, ...]
    camera_info: tuple[str, ...]


@dataclass(frozen=True)
class CameraTopics:
    """Where in a bag the streams of one camera are."""

    image: str
    depth: str | None = None
    camera_info: str | None = None


def find_candidates(streams: Mapping[str, str]) -> Candidates:
    """Sorts topics, given with their types, by type and name."""
    raw = sorted(topic for topic, kind in streams.items() if kind == IMAGE)
    packed = sorted(topic for topic, kind in streams.items() if kind == COMPRESSED)
    infos = sorted(topic for topic, kind in streams.items() if kind == CAMERA_INFO)
    images = raw + [one for one in packed if _is_new(one, PACKED_IMAGE, raw)]
    depths = raw + [one for one in packed if _is_new(one, PACKED_DEPTH, raw)]
    return Candidates(
        image=tuple(topic for topic in images if "depth" not in topic),
        depth=tuple(topic for topic in depths if "depth" in topic),
        camera_info=tuple(infos),
    )


def choose_topics(
    bag: Path,
    streams: Mapping[str, str],
    image: str | None = None,
    depth: str | None = None,
    camera_info: str | None = None,
) -> CameraTopics:
    """The topics that are named, and the only ones there are for those that are not.

    Of several camera_info topics the one beside the image is meant, where image_transport looks
    for it. Raises BagError that lists the topics when a name is wrong or a choice is open.
    """
    found = find_candidates(streams)
    pictures = [topic for topic, kind in streams.items() if kind in (IMAGE, COMPRESSED)]
    image = _choose(bag, "image", image, found.image, pictures)
    if image is None:
        raise no_image(bag, streams)
    beside = image.removesuffix(PACKED_IMAGE).rpartition("/")[0] + "/camera_info"
    infos = (beside,) if beside in found.camera_info else found.camera_info
    return CameraTopics(
        image=image,
        depth=_choose(bag, "depth", depth, found.depth, pictures),
        camera_info=_choose(bag, "camera-info", camera_info, infos, found.camera_info),
    )


def no_image(bag: Path, streams: Mapping[str, str]) -> BagError:
    """The complaint about a bag without a picture."""
    kinds = (IMAGE, COMPRESSED, CAMERA_INFO)
    found = sorted(topic for topic, kind in streams.items() if kind in kinds)
    return BagError(
        f"{bag}: no colour image topic (found: {', '.join(found) or 'no camera messages'})"
    )


def _choose(
    bag: Path,
    what: str,
    named: str | None,
    candidates: Sequence[str],
    possible: Collection[str],
) -> str | None:
    """One topic: the one that is named, with or without its transport, or the only candidate."""
    if named is not None:
        for topic in (named, named + PACKED_IMAGE, named + PACKED_DEPTH):
            if topic in possible:
                return topic
        raise BagError(
            f"{bag}: no {what} topic {named} (found: {', '.join(sorted(possible)) or 'none'})"
        )
    if len(candidates) > 1:
        raise BagError(
            f"{bag}: which is the {what} topic? There are {', '.join(candidates)}: "
            f"name one with --{what}"
        )
    return candidates[0] if candidates else None


def _is_new(topic: str, ending: str, raw: Collection[str]) -> bool:
    """Whether a compressed topic is of that transport, and its pictures are not there raw."""
    return topic.endswith(ending) and topic.removesuffix(ending) not in raw


def read_stamp_ns(cdr: bytes) -> int:
    """The stamp at the front of a serialised message whose first field is a std_msgs/Header."""
    seconds, nanoseconds = struct.unpack_from(stamp_layout(cdr), cdr, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def stamp_layout(cdr: bytes) -> str:
    """How a stamp lies behind the four bytes of CDR's encapsulation.

    The second of these says little or big endian; then seconds (int32), nanoseconds (uint32).
    """
    return ("<" if cdr[1] & 1 else ">") + "iI"


def _advice(path: Path) -> str:
    """What to do about a bag whose recorder was killed; empty where it was not."""
    if path.is_dir() and not (path / METADATA).exists():
        return f": `ros2 bag reindex {path}` writes it"
    for file in sorted(path.glob("*.mcap")) if path.is_dir() else [path]:
        if file.suffix == ".mcap" and file.exists() and not _is_whole(file):
            return f": the recording was cut off. `mcap recover {file} -o NEW` saves what there is"
    return ""


def _is_whole(file: Path) -> bool:
    """Whether an mcap file ends as it should."""
    with file.open("rb") as stream:
        stream.seek(max(file.stat().st_size - len(MCAP_END), 0))
        return stream.read() == MCAP_END
