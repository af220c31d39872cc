"""Questions about pictures from the files of their authors: photos, charts, figures, tables.

Each reader turns the JSON of a set into rows of picture, question and answers; all questions about
a picture make one record, but where a set is published question by question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from molmo_training.records import Annotation, Record, Turn
from molmo_training.sources.columns import (
    INTEGER,
    PATH,
    TEXT,
    TEXTS,
    Row,
    SchemaError,
)
from molmo_training.sources.folders import Folder, pick, read_json
from molmo_training.sources.source import Source

SCENE_TEXT_HELD_OUT, SCENE_TEXT_SEED = 1024, 63069  # as published
_QUESTION = {"image": PATH, "question": TEXT, "answers": TEXTS}
_CHOICE = {"image": PATH, "question": TEXT, "choices": TEXTS, "correct_choice_idx": INTEGER}


def _questions(rows: Sequence[Row], style: str) -> Record:
    turns = [Turn(question=row["question"], answers=row["answers"]) for row in rows]
    return Record(rows[0]["image"], tuple(Annotation(style, (turn,)) for turn in turns))


def _choices(rows: Sequence[Row], style: str) -> Record:
    annotations = []
    for row in rows:
        right, choices = row["correct_choice_idx"], row["choices"]
        if not 0 <= right < len(choices):
            raise SchemaError(
                f"column 'correct_choice_idx': wants the number of one of {len(choices)} choices, "
                f"got {right}"
            )
        letter = chr(ord("A") + right)
        turn = Turn(question=row["question"], options=choices, answers=(letter,))
        annotations.append(Annotation(style, (turn,)))
    return Record(rows[0]["image"], tuple(annotations))


def _vqa(directory: Path, split: str) -> Iterator[Row]:
    questions = read_json(directory, f"v2_OpenEnded_mscoco_{split}2014_questions.json")
    answers = read_json(directory, f"v2_mscoco_{split}2014_annotations.json")
    by_id = {one["question_id"]: one["answers"] for one in answers["annotations"]}
    for one in questions["questions"]:
        picture = f"{split}2014/COCO_{split}2014_{one['image_id']:012d}.jpg"
        yield pick(one, "question") | {
            "image": str(directory / picture),
            "answers": [given["answer"] for given in by_id[one["question_id"]]],
        }


def _knowledge(directory: Path, split: str) -> Iterator[Row]:
    for one in read_json(directory, f"aokvqa_v1p0_{split}.json"):
        row = pick(one, "question", "choices", "correct_choice_idx")
        if "direct_answers" in one:
            row["answers"] = one["direct_answers"]
        yield row | {"image": str(directory / f"{split}2017" / f"{one['image_id']:012d}.jpg")}


def _tally(directory: Path, split: str) -> Iterator[Row]:
    for one in read_json(directory, f"{split}.json"):
        yield pick(one, "question") | {
            "image": str(directory / one["image"]),
            "answers": [str(one["answer"])],
        }


def _word_problems(directory: Path, split: str) -> Iterator[Row]:
    for number, one in read_json(directory, f"problems_{split}.json").items():
        yield pick(one, "question") | {
            "image": str(directory / "tables" / f"{number}.png"),
            "answers": [one["answer"]],
        }


def _bar_charts(directory: Path, split: str) -> Iterator[Row]:
    for one in read_json(directory, f"{split}_qa.json"):
        yield pick(one, "question") | {
            "image": str(directory / "images" / one["image"]),
            "answers": [one["answer"]],
        }


def _figures(directory: Path, split: str) -> Iterator[Row]:
    for one in read_json(directory / f"{split}1", "qa_pairs.json")["qa_pairs"]:
        yield {
            "image": str(directory / f"{split}1" / "png" / f"{one['image_index']}.png"),
            "question": one["question_string"],
            "answers": ["yes" if one["answer"] else "no"],
        }


def _plots(directory: Path, split: str) -> Iterator[Row]:
    for one in read_json(directory / split, "qa_pairs_V2.json")["qa_pairs"]:
        yield {
            "image": str(directory / split / "png" / f"{one['image_index']}.png"),
            "question": one["question_string"],
            "answers": [str(one["answer"])],
        }


def _infographics(directory: Path, split: str) -> Iterator[Row]:
    for one in read_json(directory, f"infographicsVQA_{split}_v1.0*.json")["data"]:
        yield pick(one, "question", "answers") | {
            "image": str(directory / "infographicsvqa_images" / one["image_local_name"])
        }


def _scene_text(directory: Path, split: str) -> Iterator[Row]:
    for one in read_json(directory, f"{split}_task_3.json")["data"]:
        row = pick(one, "question", "answers")
        yield row | {"image": str(directory / one["file_path"])}


def _source(
    style: str,
    folder: str,
    site: str,
    holds: str,
    read: Callable[[Path, str], Iterator[Row]],
    *,
    grouped: bool = True,
    held_out: int = 0,
    validation: str = "val",
) -> Source:
    return Source(
        place=Folder(folder, site, holds, read),
        columns=_QUESTION,
        record=partial(_questions, style=style),
        picture="image",
        grouped=grouped,
        held_out=held_out,
        split_seed=SCENE_TEXT_SEED,
        splits={"validation": validation},
    )


_VQA_FILES = (
    "v2_OpenEnded_mscoco_{split}2014_questions.json, v2_mscoco_{split}2014_annotations.json and "
    "the pictures in {split}2014/"
)
_KNOWLEDGE = Folder(
    "a_okvqa",
    "allenai.org/project/a-okvqa and cocodataset.org",
    "aokvqa_v1p0_{split}.json and the pictures of COCO 2017 in {split}2017/",
    _knowledge,
)
RRC = "the portal rrc.cvc.uab.es, after registration"

QUESTIONS: dict[str, Source] = {
    "coco_2014_vqa_multi": _source("vqa2", "vqa_v2", "visualqa.org", _VQA_FILES, _vqa),
    "a_okvqa_mc": Source(
        place=_KNOWLEDGE,
        columns=_CHOICE,
        record=partial(_choices, style="a_okvqa_mc"),
        picture="image",
        splits={"validation": "val"},
    ),
    "a_okvqa_da": Source(
        place=_KNOWLEDGE,
        columns=_QUESTION,
        record=partial(_questions, style="a_okvqa_da"),
        picture="image",
        splits={"validation": "val"},
    ),
    "tally_qa": _source(
        "tally_qa",
        "tally_qa",
        "github.com/manoja328/tally_qa",
        "{split}.json and the pictures that it names, in train2014/, val2014/, VG_100K/ and "
        "VG_100K_2/",
        _tally,
    ),
    "tabwmp_da": _source(
        "tabwmp_da",
        "tabwmp",
        "promptpg.github.io",
        "problems_{split}.json and the pictures in tables/",
        _word_problems,
        grouped=False,
        validation="dev",
    ),
    "dv_qa": _source(
        "dv_qa",
        "dvqa",
        "github.com/kushalkafle/DVQA_dataset",
        "{split}_qa.json and the pictures in images/",
        _bar_charts,
        validation="val_easy",
    ),
    "figure_qa": _source(
        "figure_qa",
        "figure_qa",
        "the FigureQA page of Microsoft Research",
        "{split}1/qa_pairs.json and the pictures in {split}1/png/",
        _figures,
        validation="validation",
    ),
    "plot_qa": _source(
        "plot_qa",
        "plot_qa",
        "github.com/NiteshMethani/PlotQA",
        "{split}/qa_pairs_V2.json and the pictures in {split}/png/",
        _plots,
        validation="validation",
    ),
    "info_qa": _source(
        "info_qa",
        "info_qa",
        RRC,
        "infographicsVQA_{split}_v1.0.json (val: its _withQT variant) and the pictures in "
        "infographicsvqa_images/",
        _infographics,
        grouped=False,
    ),
    "st_qa": _source(
        "st_qa",
        "st_qa",
        RRC,
        "{split}_task_3.json and the folders of pictures that it names",
        _scene_text,
        grouped=False,
        held_out=SCENE_TEXT_HELD_OUT,
    ),
}
