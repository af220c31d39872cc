"""Writes an mcap bag that is whole or not there at all, with the definitions of its types.

It grows in a hidden folder beside its place and moves there when it is complete. Knows nothing of
what the messages mean.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from molmo_ros.bags import METADATA, BagError, Record
from molmo_ros.definitions import (
    Definition,
    DefinitionError,
    find_definition,
    read_definition,
)

VERSION = 8  # of metadata.yaml: the last one that writes QoS in the way that Humble reads


@contextmanager
def new_bag(path: Path, source: Path, *, force: bool = False) -> Iterator[BagWriter]:
    """A bag to write into: a directory, or a single file when `path` ends in .mcap.

    It appears at `path` when the block ends well; otherwise nothing is left behind.
    source: the bag that is being read, which must not be replaced
    force:  replaces the bag at `path`, if there is one
    """
    _check_place(path, source, force)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        bag = Path(folder) / (path.stem if _is_file(path) else path.name)
        storage = Writer(bag, version=VERSION, storage_plugin=StoragePlugin.MCAP)
        storage.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)  # of its chunks
        with storage:
            yield BagWriter(storage)
        for file in bag.iterdir():
            _flush(file)
        if path.is_dir():  # nothing can be moved onto it
            path.rename(Path(folder) / "replaced")
        (bag / f"{bag.name}.mcap" if _is_file(path) else bag).replace(path)


class BagWriter:
    """Adds messages to a bag that new_bag() has opened.

    copied: topics of another bag whose messages it takes
    """

    def __init__(self, storage: Writer) -> None:
        self.copied: set[str] = set()
        self._storage = storage
        self._topics: dict[str, Connection] = {}
        self._digests: dict[str, str] = {}  # by type

    def announce(self, topic: str, message_class: type) -> None:
        """Prepares a topic for messages of an installed type."""
        package = message_class.__module__.split(".")[0]
        self._add(topic, find_definition(f"{package}/msg/{message_class.__name__}"), ())

    def announce_copy(self, source: Connection) -> None:
        """Prepares a topic for messages of another bag; raises DefinitionError.

        Its type is defined as in that bag, or as installed where that bag does not tell.
        """
        kind, text = source.msgtype, source.msgdef.data
        definition = read_definition(kind, text) if text else find_definition(kind)
        self._add(source.topic, definition, source.ext.offered_qos_profiles)
        self.copied.add(source.topic)

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """Adds a message to an announced topic. time_ns: when it counts as recorded."""
        self._storage.write(self._topics[topic], time_ns, serialize_message(message))

    def copy(self, record: Record) -> None:
        """Adds a message of another bag, if its topic and type were announced."""
        if record.topic in self.copied and self._topics[record.topic].msgtype == record.kind:
            self._storage.write(self._topics[record.topic], record.time_ns, record.cdr)

    def _add(self, topic: str, definition: Definition, qos: Iterable[Any]) -> None:
        """A topic, once; a type has a single definition in a bag."""
        kind, digest = definition.kind, definition.digest
        if self._digests.setdefault(kind, digest) != digest:
            raise DefinitionError(f"{kind} is defined differently than in this ROS installation")
        if topic not in self._topics:
            self._topics[topic] = self._storage.add_connection(
                topic,
                kind,
                msgdef=definition.text,
                rihs01=digest,
                offered_qos_profiles=tuple(qos),
            )


def _is_file(path: Path) -> bool:
    return path.suffix == ".mcap"


def _check_place(path: Path, source: Path, force: bool) -> None:
    """Refuses to overwrite what must stay."""
    if not path.parent.is_dir():
        raise BagError(f"{path}: there is no directory {path.parent}: make it first")
    new, read = path.resolve(), source.resolve()
    if new == read or new in read.parents or read in new.parents:
        raise BagError(f"{path} is in the bag that is read, or around it: name another place")
    if not path.exists():
        return
    if not force:
        raise BagError(f"{path} exists: name another one, or replace it with --force")
    if path.is_dir() and not (path / METADATA).exists() or path.is_dir() == _is_file(path):
        raise BagError(f"{path} is no bag of this form: --force replaces bags only")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
