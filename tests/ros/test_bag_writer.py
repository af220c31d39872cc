"""A bag that is whole or not there, and that every reader decodes."""

import pytest
from recordings import FIRST_NS, IMAGE, kind_of, read_bag, read_mcap, shot, write_bag
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from std_msgs.msg import String

from molmo_ros.bag_writer import new_bag
from molmo_ros.bags import Bag, BagError
from molmo_ros.definitions import DefinitionError
from molmo_ros.msg import Answer

OURS = "/molmo/answer"


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return write_bag(tmp_path / "source" / "bag", shot(0, FIRST_NS))


def fill(writer, text="hello"):
    writer.announce(OURS, Answer)
    writer.write(OURS, FIRST_NS, Answer(text=text))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_bag_is_a_directory_with_metadata(tmp_path, source):
    with new_bag(tmp_path / "new", source) as writer:
        fill(writer)
    assert files(tmp_path / "new") == ["metadata.yaml", "new.mcap"]
    ((time_ns, answer),) = read_bag(tmp_path / "new")[OURS]
    assert (time_ns, answer.text) == (FIRST_NS, "hello")


def test_a_name_that_ends_in_mcap_gives_a_single_file(tmp_path, source):
    with new_bag(tmp_path / "new.mcap", source) as writer:
        fill(writer)
    assert (tmp_path / "new.mcap").is_file()
    ((time_ns, answer),) = read_mcap(tmp_path / "new.mcap")[OURS]
    assert (time_ns, answer.text) == (FIRST_NS, "hello")


@pytest.mark.parametrize("name", ["new", "new.mcap"])
@pytest.mark.parametrize("reason", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_ends_early_leaves_nothing(tmp_path, source, name, reason):
    before = files(tmp_path)
    with pytest.raises(reason), new_bag(tmp_path / name, source) as writer:
        fill(writer)
        raise reason
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["new", "new.mcap"])
def test_a_bag_is_replaced_by_force_only_and_by_a_whole_one_only(tmp_path, source, name):
    path = tmp_path / name
    with new_bag(path, source) as writer:
        fill(writer, "old")
    with pytest.raises(BagError, match=f"{path} exists.*--force"), new_bag(path, source):
        pass
    with pytest.raises(ValueError, match="halfway"), new_bag(path, source, force=True) as writer:
        fill(writer, "new")
        raise ValueError("halfway")
    assert read_bag(path)[OURS][0][1].text == "old"
    with new_bag(path, source, force=True) as writer:
        fill(writer, "new")
    assert read_bag(path)[OURS][0][1].text == "new"
    assert {file.split("/")[0] for file in files(tmp_path)} == {"source", name}


def test_force_deletes_nothing_but_bags(tmp_path, source):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    (tmp_path / "folder.mcap").mkdir()
    before = files(tmp_path)
    for name in ("work", "file", "folder.mcap"):
        with (
            pytest.raises(BagError, match="bags only"),
            new_bag(tmp_path / name, source, force=True),
        ):
            pass
    assert files(tmp_path) == before


def test_the_bag_that_is_read_is_not_replaced(tmp_path, source):
    inside = source / "bag.mcap"
    for path, read in ((source, source), (source, inside), (inside, inside), (inside, source)):
        with pytest.raises(BagError, match="that is read"), new_bag(path, read, force=True):
            pass
    assert len(read_bag(source)) == 3


def test_a_place_that_is_not_there_is_named(tmp_path, source):
    with (
        pytest.raises(BagError, match=f"no directory {tmp_path / 'nowhere'}"),
        new_bag(tmp_path / "nowhere" / "new", source),
    ):
        pass


def test_copies_keep_bytes_times_and_types(tmp_path, source):
    with Bag(source) as bag, new_bag(tmp_path / "new", source) as writer:
        for connection in bag.connections:
            writer.announce_copy(connection)
        recorded = list(bag.read(bag.streams))
        for record in recorded:
            writer.copy(record)
    with Bag(tmp_path / "new") as bag:
        assert list(bag.read(bag.streams)) == recorded
        assert {one.msgdef.data for one in bag.connections} != {""}


def foreign(topic, kind, text):
    """A topic of another bag, with its own definition of its type."""
    known = MessageDefinitionFormat.MSG if text else MessageDefinitionFormat.NONE
    definition = MessageDefinition(known, text)
    return Connection(1, topic, kind, definition, "", 1, ConnectionExtRosbag2("cdr", []), None)


def test_types_of_other_installations_are_copied_with_their_own_definition(tmp_path, source):
    with new_bag(tmp_path / "new", source) as writer:
        fill(writer)
        writer.announce_copy(foreign("/odd", "odd_msgs/msg/Odd", "int32 oddness"))
        writer.announce_copy(foreign("/chatter", kind_of(String()), ""))
    assert read_bag(tmp_path / "new").keys() == {OURS, "/odd", "/chatter"}


@pytest.mark.parametrize(
    ("kind", "text", "word"),
    [
        ("odd_msgs/msg/Odd", "", "not in this ROS installation"),
        ("odd_msgs/msg/Odd", "even_msgs/Even even", "cannot be read"),
        ("molmo_ros/msg/Answer", "string text", "defined differently"),
    ],
)
def test_what_no_reader_could_decode_is_not_copied(tmp_path, source, kind, text, word):
    with new_bag(tmp_path / "new", source) as writer:
        fill(writer)
        with pytest.raises(DefinitionError, match=f"{kind}.* {word}"):
            writer.announce_copy(foreign("/odd", kind, text))
    assert read_bag(tmp_path / "new").keys() == {OURS}


def test_every_topic_is_decoded_by_two_readers(tmp_path, source):
    with Bag(source) as bag, new_bag(tmp_path / "new.mcap", source) as writer:
        fill(writer)
        for connection in bag.connections:
            writer.announce_copy(connection)
        for record in bag.read(bag.streams):
            writer.copy(record)
    ours, theirs = read_bag(tmp_path / "new.mcap"), read_mcap(tmp_path / "new.mcap")
    assert ours.keys() == theirs.keys() > {OURS, IMAGE}
    assert {topic: len(found) for topic, found in ours.items()} == {
        topic: len(found) for topic, found in theirs.items()
    }
