"""The benchmarks by their names: whose data, how they are asked and how they are judged.

Settings are the published ones: greedy answers of 12 tokens, of 192 where points are written;
pictures in up to 12 crops, in up to 36 where something is to be read.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from molmo_training import tasks_official as official
from molmo_training import tasks_published as published
from molmo_training import tasks_scores as scores
from molmo_training.tasks_example import Task, UnknownTaskError
from molmo_training.tasks_own import own_task
from molmo_training.tasks_scenes import scene_examples, score_scene
from molmo_training.tasks_tables import Files, Hub

POINTING = 192  # tokens
AS_CONVERTED = "refs/convert/parquet"  # by the hub, of data sets that are a script
Reading = partial(Task, max_crops=36)
Pointing = partial(Task, max_new_tokens=POINTING)

_TASKS = (
    Task(
        name="scenes",
        about="simulated tables with exact truth: pointing, counting, denying",
        score=score_scene,
        examples=scene_examples,
        max_new_tokens=200,
        max_crops=None,
    ),
    Pointing(
        name="pixmo_points",
        about="pointing, by outlines: F1, precision, recall (pixmo-points-eval)",
        score=scores.by_masks,
        examples=Hub(id="allenai/pixmo-points-eval", read=published.pixmo_points),
    ),
    Pointing(
        name="pixmo_count",
        about="counting, test",
        score=scores.by_count,
        examples=Hub(id="allenai/pixmo-count", read=published.pixmo_count),
    ),
    Pointing(
        name="countbench",
        about="CountBenchQA: counting two to ten",
        score=scores.by_count,
        examples=Files(
            rows=official.countbench_rows,
            read=official.countbench,
            needs=official.COUNTBENCH_NEEDS,
        ),
    ),
    Task(
        name="vqa2",
        about="VQA v2, validation: short answers",
        score=scores.by_vqa,
        examples=Files(rows=official.vqa2_rows, read=official.vqa2, needs=official.VQA2_NEEDS),
    ),
    Reading(
        name="text_vqa",
        about="TextVQA, validation: text in photographs",
        score=scores.by_vqa,
        examples=Hub(
            id="facebook/textvqa",
            split="validation",
            read=published.text_vqa,
            revision=AS_CONVERTED,
        ),
    ),
    Task(
        name="okvqa",
        about="OK-VQA, validation: knowledge beside the picture",
        score=scores.by_vqa,
        examples=Hub(
            id="HuggingFaceM4/OK-VQA",
            split="validation",
            read=published.okvqa,
            revision=AS_CONVERTED,
        ),
    ),
    Reading(
        name="a_okvqa_mc",
        about="A-OKVQA, validation: multiple choice",
        score=scores.by_choice,
        examples=Files(
            rows=official.a_okvqa_rows, read=official.a_okvqa_mc, needs=official.A_OKVQA_NEEDS
        ),
    ),
    Reading(
        name="a_okvqa_da",
        about="A-OKVQA, validation: direct answers",
        score=scores.by_direct_answer,
        examples=Files(
            rows=official.a_okvqa_rows, read=official.a_okvqa_da, needs=official.A_OKVQA_NEEDS
        ),
    ),
    Reading(
        name="chart_qa",
        about="ChartQA, test: within 5 %",
        score=scores.by_relaxed_accuracy,
        examples=Hub(id="HuggingFaceM4/ChartQA", read=published.chart_qa),
    ),
    Reading(
        name="doc_qa",
        about="DocVQA, validation: scanned documents",
        score=scores.by_anls,
        examples=Hub(id="HuggingFaceM4/DocumentVQA", split="validation", read=published.doc_qa),
    ),
    Reading(
        name="info_qa",
        about="InfographicVQA, validation",
        score=scores.by_anls,
        examples=Files(
            rows=official.info_qa_rows, read=official.info_qa, needs=official.INFO_QA_NEEDS
        ),
    ),
    Reading(
        name="ai2d",
        about="AI2D, test: diagrams, multiple choice",
        score=scores.by_choice,
        examples=Files(rows=official.ai2d_rows, read=official.ai2d, needs=official.AI2D_NEEDS),
    ),
    Task(
        name="tally_qa",
        about="TallyQA, test: numbers, exactly",
        score=scores.by_exact_match,
        examples=Files(
            rows=official.tally_qa_rows, read=official.tally_qa, needs=official.TALLY_QA_NEEDS
        ),
    ),
    Reading(
        name="real_world_qa",
        about="RealWorldQA: photographs from cars and elsewhere",
        score=scores.by_real_world,
        examples=Hub(id="xai-org/RealworldQA", read=published.real_world_qa),
    ),
    Reading(
        name="mmmu",
        about="MMMU, validation: exams of colleges",
        score=scores.by_exam,
        examples=Hub(id="MMMU/MMMU", has_parts=True, split="validation", read=published.mmmu),
    ),
    Reading(
        name="math_vista",
        about="MathVista, testmini, answers read by rules instead of GPT-4",
        score=scores.by_mathematics,
        examples=Hub(id="AI4Math/MathVista", split="testmini", read=published.math_vista),
    ),
    Task(
        name="clocks",
        about="reading a dial within a minute (PixMo-Clocks, rendered)",
        score=scores.by_clock,
        examples=Hub(id="allenai/pixmo-clocks", split="validation", read=published.pixmo_clock),
    ),
)
TASKS = {task.name: task for task in _TASKS}


def find_task(name: str) -> Task:
    """A benchmark by its name, or your own data by its path."""
    named = name.lower().replace("-", "_").removesuffix("_eval")
    if named in TASKS:
        return TASKS[named]
    if Path(name).exists():
        return own_task(Path(name))
    raise UnknownTaskError(
        f"{name}: no task has that name, and no file or folder either. Name a folder with a "
        "data.jsonl, or one of\n"
        + "\n".join(f"  {task.name:14} {task.about}" for task in TASKS.values())
    )
