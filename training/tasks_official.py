"""Reads the benchmarks that their authors offer as files: where these lie, and what a row says.

Each `*_rows` takes the folder that the user named and returns plain rows; each reader makes an
example of one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from molmo_model.text import multiple_choice, styled
from molmo_training.metrics_choice import letter
from molmo_training.tasks_example import EvalExample, TaskError
from molmo_training.tasks_published import lettered
from molmo_training.tasks_tables import Pictures, Row, local_table

VQA2_NEEDS = (
    "v2_OpenEnded_mscoco_val2014_questions.json and v2_mscoco_val2014_annotations.json "
    "(visualqa.org), and the pictures in val2014/ (cocodataset.org)"
)
A_OKVQA_NEEDS = (
    "aokvqa_v1p0_val.json (allenai.org/project/a-okvqa) and the pictures in val2017/ "
    "(cocodataset.org)"
)
AI2D_NEEDS = (
    "questions/, images/, abc_images/ and ai2d_test_ids.csv (allenai.org/data/diagrams) of AI2D"
)
INFO_QA_NEEDS = (
    "infographicsVQA_val_v1.0_withQT.json and the pictures in infographicsvqa_images/ "
    "(rrc.cvc.uab.es, after signing in)"
)
TALLY_QA_NEEDS = (
    "test.json (github.com/manoja328/TallyQA_dataset) and the pictures that it names, in "
    "val2014/ (cocodataset.org), VG_100K/ and VG_100K_2/ (visualgenome.org)"
)
COUNTBENCH_NEEDS = (
    "countbench_paired_questions.json (github.com/google-research/big_vision) and a copy of "
    "nielsr/countbench: hf download nielsr/countbench --repo-type dataset --local-dir DIR"
)


def vqa2_rows(folder: Path) -> list[Row]:
    """Questions with the ten answers that people gave to each."""
    asked = _json(folder / "v2_OpenEnded_mscoco_val2014_questions.json")["questions"]
    said = _json(folder / "v2_mscoco_val2014_annotations.json")["annotations"]
    answers = {one["question_id"]: [a["answer"] for a in one["answers"]] for one in said}
    return [one | {"answers": answers[one["question_id"]]} for one in asked]


def vqa2(row: Row, pictures: Pictures) -> EvalExample:
    """A short answer about a photograph."""
    return EvalExample(
        image=pictures.find(f"val2014/COCO_val2014_{row['image_id']:012d}.jpg"),
        prompt=styled(row["question"], "vqa2"),
        question=row["question"],
        answers=tuple(row["answers"]),
    )


def a_okvqa_rows(folder: Path) -> list[Row]:
    """Questions with four choices and ten direct answers."""
    return list(_json(folder / "aokvqa_v1p0_val.json"))


def a_okvqa_mc(row: Row, pictures: Pictures) -> EvalExample:
    """One of four choices."""
    options = tuple(row["choices"])
    return EvalExample(
        image=_coco_2017(row, pictures),
        prompt=lettered(row["question"], options),
        question=row["question"],
        answers=(letter(row["correct_choice_idx"]),),
        options=options,
    )


def a_okvqa_da(row: Row, pictures: Pictures) -> EvalExample | None:
    """A short answer; questions too hard for that are left out, as their authors do."""
    if row.get("difficult_direct_answer"):
        return None
    return EvalExample(
        image=_coco_2017(row, pictures),
        prompt=styled(row["question"], "a_okvqa_da"),
        question=row["question"],
        answers=tuple(row["direct_answers"]),
    )


def ai2d_rows(folder: Path) -> list[Row]:
    """The questions about the diagrams of the test split, each with its picture's name."""
    listed = (folder / "ai2d_test_ids.csv").read_text().split()
    names = {name.strip('",') for name in listed}
    rows: list[Row] = []
    for path in sorted((folder / "questions").glob("*.json")):
        name = path.name.removesuffix(".json")
        if Path(name).stem not in names:
            continue
        for question, about in _json(path)["questions"].items():
            shown = "abc_images" if about["abcLabel"] else "images"  # with letters, or without
            rows.append({"question": question, "image": f"{shown}/{name}", **about})
    if not rows:
        raise TaskError(f"{folder}: no question of the test split is in it. Wanted: {AI2D_NEEDS}")
    return rows


def ai2d(row: Row, pictures: Pictures) -> EvalExample:
    """One of four options; where the diagram has letters itself, the options stand without."""
    options = tuple(row["answerTexts"])
    right = int(row["correctAnswer"])
    if row["abcLabel"]:
        listed = multiple_choice(row["question"], options, lettered=False)
        prompt = styled(listed, "ai2_diagram_no_letter")
    else:
        prompt = lettered(row["question"], options, "ai2_diagram")
    return EvalExample(
        image=pictures.find(row["image"]),
        prompt=prompt,
        question=row["question"],
        answers=(options[right] if row["abcLabel"] else letter(right),),
        options=options,
    )


def info_qa_rows(folder: Path) -> list[Row]:
    """Questions about infographics."""
    return list(_json(folder / "infographicsVQA_val_v1.0_withQT.json")["data"])


def info_qa(row: Row, pictures: Pictures) -> EvalExample:
    """A short answer that stands in the picture."""
    return EvalExample(
        image=pictures.find(f"infographicsvqa_images/{row['image_local_name']}"),
        prompt=styled(row["question"], "info_qa"),
        question=row["question"],
        answers=tuple(row["answers"]),
    )


def tally_qa_rows(folder: Path) -> list[Row]:
    """Counting questions, simple and complex."""
    return list(_json(folder / "test.json"))


def tally_qa(row: Row, pictures: Pictures) -> EvalExample:
    """A number, and nothing else."""
    return EvalExample(
        image=pictures.find(row["image"]),
        prompt=styled(row["question"], "tally_qa"),
        question=row["question"],
        answers=(str(row["answer"]),),
    )


def countbench_rows(folder: Path) -> list[Row]:
    """Rows with a picture and the question that was written for it."""
    asked = _json(folder / "countbench_paired_questions.json")
    table = local_table(folder, "train")
    if table is None:
        raise TaskError(f"{folder}: no train-*.parquet is in it. Wanted: {COUNTBENCH_NEEDS}")
    if len(asked) != len(table):
        raise TaskError(f"{folder}: {len(asked)} questions for {len(table)} pictures")
    return [
        {**row, "question": one["question"]}
        for one, row in zip(asked, table, strict=True)
        if row["image"] is not None
    ]


def countbench(row: Row, pictures: Pictures) -> EvalExample:
    """Two to ten of a kind, each with a question of its own."""
    return EvalExample(
        image=pictures.find(row["image"]),
        prompt=styled(row["question"], "point_count"),
        question=row["question"],
        number=int(row["number"]),
    )


def _coco_2017(row: Row, pictures: Pictures) -> Any:
    return pictures.find(f"val2017/{row['image_id']:012d}.jpg")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
