"""Packing against the published training preprocessor."""

import json

import numpy as np
import pytest
from recipes import GOLDEN

from molmo_training.packing import IMAGE_SEGMENT, PADDING, Annotation, collate, pack

CASES = json.loads((GOLDEN / "text" / "packing.json").read_text())["cases"]


def expanded(runs) -> list:
    """Undoes the run-length code [[value, count], ...]."""
    return [value for value, count in runs for _ in range(count)]


def annotations_of(case) -> tuple[list[int], list[Annotation]]:
    """Head and annotations, cut from the golden row where prompts and answers change."""
    ids = [*expanded(case["input_tokens"]), expanded(case["target_tokens"])[-1]]
    learned = [False, *(weight > 0 for weight in expanded(case["loss_masks"]))]
    segments = expanded(case.get("subsegment_ids", [[1, len(ids) - 1]]))
    segments = [*segments, segments[-1]]
    head = 1 + max(i for i, token in enumerate(ids) if token == ids[1] + 1)  # the last <im_end>
    found = []
    for number in sorted(set(segments[head:])):
        where = [i for i in range(head, len(ids)) if segments[i] == number]
        prompt = [i for i in where if not any(learned[j] for j in where if j <= i)]
        rest = where[len(prompt) :]
        weights = [float(learned[i]) for i in rest]
        found.append(Annotation([ids[i] for i in prompt], [ids[i] for i in rest], weights))
    return ids[:head], found


@pytest.mark.parametrize("name", [name for name in CASES if "inference" not in name])
def test_rows_are_the_published_ones(name):
    case = CASES[name]
    packed = pack(*annotations_of(case))
    assert packed.ids.tolist() == expanded(case["input_tokens"])
    assert packed.targets.tolist() == expanded(case["target_tokens"])
    assert (packed.weights > 0).tolist() == [w > 0 for w in expanded(case["loss_masks"])]
    runs = [start + i for start, length in case["position_id_runs"] for i in range(length)]
    assert packed.positions.tolist() == runs
    if "subsegment_ids" in case:
        assert packed.segments.tolist() == expanded(case["subsegment_ids"])


def test_rows_of_a_batch_are_padded_on_the_right():
    head = [9, 8]
    short, long = (pack(head, [Annotation([1] * n, [2, 9], [1.0, 1.0])]) for n in (1, 4))
    batch = collate([short, long])
    assert batch.ids.shape == (2, len(long.ids))
    assert batch.ids[0].tolist() == [*short.ids, *[PADDING] * 3]
    assert not batch.weights[0, len(short.ids) :].any()
    assert np.array_equal(batch.ids[1], long.ids)
    assert batch.segments[1, 0] == IMAGE_SEGMENT
