"""The definitions of message types as a bag stores them, so that any player can decode them.

They come from the .msg files of the ROS installation, and so fit what its classes serialise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import Nodetype
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)

RULE = "=" * 80  # between the definitions of a type and of those that it is made of


class DefinitionError(ValueError):
    """A type whose definition is not known here."""


@dataclass(frozen=True)
class Definition:
    """Of one type. text: its .msg file and, behind rules, those of all types in it."""

    kind: str
    text: str
    digest: str  # RIHS01, REP-2016


def read_definition(kind: str, text: str) -> Definition:
    """The definition that a bag brings for a type, .msg or IDL; raises DefinitionError."""
    store = get_typestore(Stores.EMPTY)
    try:
        if text.startswith(f"{RULE}\nIDL: "):
            for part in text.split(f"{RULE}\n")[1:]:
                store.register(get_types_from_idl(part.partition("\n")[2]))
        else:
            store.register(get_types_from_msg(text, kind))
        return Definition(kind, text, store.hash_rihs01(kind))
    except (TypesysError, KeyError) as error:
        raise DefinitionError(f"the definition of {kind} cannot be read ({error})") from error


@cache
def find_definition(kind: str) -> Definition:
    """The definition of an installed type, like std_msgs/msg/String; raises DefinitionError."""
    texts: dict[str, str] = {}
    waiting = [kind]
    while waiting:
        name = waiting.pop()
        if name not in texts:
            texts[name] = _read(name)
            waiting += _parts(get_types_from_msg(texts[name], name)[name][1])
    first = texts.pop(kind)
    rest = (f"{RULE}\nMSG: {name.replace('/msg/', '/')}\n{texts[name]}" for name in sorted(texts))
    return read_definition(kind, "\n".join([first, *rest]))


def _read(kind: str) -> str:
    """The .msg file of an installed type."""
    package, _, name = kind.partition("/")
    try:
        return (Path(get_package_share_directory(package)) / f"{name}.msg").read_text("utf-8")
    except (PackageNotFoundError, ValueError, OSError) as error:
        raise DefinitionError(f"{kind} is not in this ROS installation") from error


def _parts(fields: Any) -> Iterator[str]:
    """The types that fields are made of: each is (name, (node, what)), arrays nest once more."""
    for _, (node, what) in fields:
        if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            node, what = what[0]
        if node == Nodetype.NAME:
            yield what
