import pytest

from molmo_ros import msg
from molmo_ros.modes import Mode, phrase


def test_the_modes_are_those_of_the_message():
    assert {f"MODE_{mode.name}": mode.value for mode in Mode} == {
        name: getattr(msg.Answer, name) for name in dir(msg.Answer) if name.startswith("MODE_")
    }


@pytest.mark.parametrize(
    ("mode", "prompt", "asked"),
    [
        (Mode.ANSWER, "the mug", "the mug"),
        (Mode.POINT, "the mug handle", "Point to the mug handle."),
        (Mode.POINT, " mugs\n", "Point to mugs."),
        (Mode.POINT, "Where is the mug?", "Where is the mug?"),
        (Mode.POINT, "Point to the mug.", "Point to the mug."),
        (Mode.COUNT, "red mugs", "How many red mugs are there?"),
        (Mode.COUNT, "Count the mugs.", "Count the mugs."),
        (Mode.DESCRIBE, "", "Describe this image."),
        (Mode.DESCRIBE, "the shelf", "Describe the shelf."),
        (Mode.RAW, " User: hi Assistant:", " User: hi Assistant:"),
    ],
)
def test_names_become_requests_and_sentences_stay(mode, prompt, asked):
    assert phrase(mode, prompt) == asked


@pytest.mark.parametrize("mode", [Mode.ANSWER, Mode.POINT, Mode.COUNT, Mode.RAW])
def test_nothing_named_stays_nothing(mode):
    assert phrase(mode, "  ") == "  "
