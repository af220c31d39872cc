import re
from dataclasses import replace

import numpy as np
import pytest

from molmo_sim.questions import (
    EVERY_KIND,
    NEW_KINDS,
    Kind,
    object_mask,
    questions_about,
    visible_point,
)
from molmo_sim.render import Frame
from molmo_sim.scene import COLOURS, SHAPES, repainted, sample_scene


@pytest.fixture(scope="module")
def asked(any_renderer):
    """(scene, frame, questions) of some scenes."""
    scenes = [sample_scene((8, index)) for index in range(30)]
    frames = [any_renderer.render(scene) for scene in scenes]
    rng = np.random.default_rng(0)
    return [(s, f, questions_about(s, f, rng)) for s, f in zip(scenes, frames, strict=True)]


def meant(scene, label):
    """Indices of the objects that a label's words name."""
    words = label.split()
    shape = words[-1] if words[-1] in (*SHAPES, "object") else words[-1].removesuffix("s")
    return [
        index
        for index, thing in enumerate(scene.objects)
        if shape in ("object", thing.shape) and (len(words) == 1 or words[0] == thing.colour)
    ]


def test_points_lie_inside_exactly_the_objects_named(asked):
    for scene, frame, questions in asked:
        height, width = frame.segments.shape
        for question in questions:
            if question.kind == "describe":
                continue
            pixels = [(x / 100 * width - 0.5, y / 100 * height - 0.5) for x, y in question.points]
            hit = [int(frame.segments[round(v), round(u)]) for u, v in pixels]
            assert sorted(hit) == meant(scene, question.label), question
            assert question.count == len(hit)


def test_points_are_ordered_as_they_are_written(asked):
    for _, _, questions in asked:
        for question in questions:
            written = [(round(x, 1), round(y, 1)) for x, y in question.points]
            assert written == sorted(written)


def test_absent_things_have_no_points_and_an_answer_that_says_so(asked):
    absent = [q for _, _, questions in asked for q in questions if not q.points]
    assert {question.kind for question in absent} == {"point", "count"}
    assert {question.text for question in absent} == {"There are none."}


def test_absent_things_are_often_of_a_colour_and_a_shape_that_are_there(asked):
    hard = 0
    for scene, _, questions in asked:
        colours = {thing.colour for thing in scene.objects}
        shapes = {thing.shape for thing in scene.objects}
        for question in (q for q in questions if q.kind == "point" and not q.points):
            colour, _, shape = question.label.partition(" ")
            hard += colour in colours and shape.removesuffix("s") in shapes
    assert hard >= 10  # of 60


def test_descriptions_name_every_object_from_left_to_right(asked):
    for scene, frame, questions in asked:
        text = questions[-1].text
        names = re.findall(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", text)
        where = [visible_point(object_mask(frame, i)) for i in range(len(scene.objects))]
        by_column = sorted(range(len(where)), key=lambda i: tuple(np.round(where[i], 1)))
        assert [" ".join(name) for name in names] == [scene.objects[i].name for i in by_column]
        assert re.match(rf"There (is|are) {len(names)} objects? on the table: an? ", text)


def test_hidden_objects_are_not_asked_about(asked):
    scene, frame, _ = next(case for case in asked if len(case[0].objects) > 2)
    hidden = replace(frame, segments=np.where(frame.segments == 0, -1, frame.segments))
    description = questions_about(scene, hidden, np.random.default_rng(0))[-1]
    assert description.count == len(scene.objects) - 1


def test_questions_are_a_function_of_the_generator(asked):
    scene, frame, _ = asked[0]
    once, again, other = (
        questions_about(scene, frame, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert once == again and once != other


def test_labels_and_kinds_belong_together():
    assert Kind.of_label("red cubes") == Kind.of_label("red cube") == Kind("red", "cube")
    assert Kind.of_label("spheres") == Kind(shape="sphere")
    assert Kind.of_label("blue objects") == Kind("blue")
    assert Kind.of_label("objects") == Kind()
    assert Kind.of_label("coffee cup") is None


def test_the_point_of_a_bent_mask_is_its_innermost_pixel():
    mask = np.zeros((20, 40), bool)
    mask[2:18, 2:6] = mask[2:18, 34:38] = mask[2:9, 2:38] = True  # the centroid is in the gap
    segments = np.where(mask, 0, -1).astype(np.int16)
    frame = Frame(np.zeros((20, 40, 3), np.uint8), np.ones((20, 40), np.float32), segments)
    x, y = visible_point(object_mask(frame, 0))
    assert mask[round(y / 100 * 20 - 0.5), round(x / 100 * 40 - 0.5)]


def test_a_single_pixel_is_its_own_point():
    mask = np.zeros((10, 20), bool)
    mask[4, 7] = True
    assert visible_point(mask) == (37.5, 45.0)


def test_a_seed_gives_the_questions_that_it_always_gave(any_renderer):
    """As they are drawn from the same generator as answers and words of training."""
    scene = sample_scene((2, 7, 0))
    rng = np.random.default_rng((2, 7, 0))
    asked = questions_about(scene, any_renderer.render(scene), rng)
    assert [question.prompt for question in asked[:2] + asked[-2:]] == [
        "Point at the yellow cubes.",
        "Show me the green cube.",
        "Count all the orange capsules.",
        "List the objects on the table.",
    ]


def test_only_who_names_a_new_colour_is_asked_for_it_where_it_is_not(any_renderer):
    scene = repainted(sample_scene((5, 1)), "pink", np.random.default_rng(0))
    frame = any_renderer.render(scene)

    def absent(kinds):
        rng = np.random.default_rng(1)
        asked = [q for _ in range(30) for q in questions_about(scene, frame, rng, kinds)]
        return {question.label.split()[0] for question in asked if not question.points}

    assert "pink" in absent((*EVERY_KIND, *NEW_KINDS))
    assert "pink" not in absent(EVERY_KIND)
    assert Kind.of_label("pink cubes") == Kind("pink", "cube")
