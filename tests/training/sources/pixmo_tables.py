"""The published schemas of the PixMo sets, a row of each, and the readers of each."""

from __future__ import annotations

import pyarrow as pa
from greys import png

TEXT, INT = pa.string(), pa.int64()
XY = pa.list_(pa.struct({"x": pa.float64(), "y": pa.float64()}))
HASHED = {"image_url": TEXT, "image_sha256": TEXT}
SCHEMAS = {
    "cap": {"image_url": TEXT, "caption": TEXT, "transcripts": pa.list_(TEXT)},
    "ask": HASHED | {"question": TEXT, "answer": TEXT},
    "cap_qa": {"image_url": TEXT, "question": TEXT, "answer": TEXT, "messages": pa.list_(TEXT)},
    "points": HASHED | {"points": XY, "count": INT, "label": TEXT, "collection_method": TEXT},
    "explanations": HASHED
    | {
        "question": TEXT,
        "response": TEXT,
        "parsed_response": TEXT,
        "alt_text": pa.list_(TEXT),
        "inline_text": pa.list_(TEXT),
        "points": pa.list_(XY),
    },
    "docs": {
        "image": pa.struct({"bytes": pa.binary(), "path": TEXT}),
        "image_id": TEXT,
        "questions": pa.struct({"question": pa.list_(TEXT), "answer": pa.list_(TEXT)}),
    },
    "clocks": {
        "example_id": TEXT,
        "watchface_id": TEXT,
        "watchface_name": TEXT,
        "watch_time": TEXT,
        "time_format": TEXT,
        "shows_seconds": pa.bool_(),
        "hour_visible": pa.int32(),
        "minute_visible": pa.int32(),
        "second_visible": pa.int32(),
        "text": TEXT,
    },
    "count": HASHED | {"count": INT, "label": TEXT, "points": XY},
}


def xy(*pairs):
    return [{"x": x, "y": y} for x, y in pairs]


ROWS = {
    "cap": {"image_url": "u", "caption": "A cat.", "transcripts": ["So a cat.", "I see a cat."]},
    "ask": {"image_url": "u", "image_sha256": "ab", "question": "Who?", "answer": "A cat."},
    "cap_qa": {"image_url": "u", "question": "Who?", "answer": "A cat.", "messages": None},
    "points": {
        "image_url": "u",
        "image_sha256": "ab",
        "points": xy((10, 20), (30.5, 4)),
        "count": 2,
        "label": "Cats",
        "collection_method": "pointing",
    },
    "explanations": {
        "image_url": "u",
        "image_sha256": "ab",
        "question": "Where?",
        "response": "unparsed",
        "parsed_response": "The <|POINT|> is left.",
        "alt_text": ["a cup"],
        "inline_text": ["cup"],
        "points": [xy((10, 20))],
    },
    "docs": {
        "image": {"bytes": png(9), "path": "a.png"},
        "image_id": "7",
        "questions": {"question": ["How much?", "Which?"], "answer": ["12", "The first."]},
    },
    "clocks": {
        "example_id": "e",
        "watchface_id": "w",
        "watchface_name": "plain",
        "watch_time": "003_2020-06-28T08:15:30",
        "time_format": "Without AM/PM",
        "shows_seconds": True,
        "hour_visible": 8,
        "minute_visible": 15,
        "second_visible": 30,
        "text": "8:15:30",
    },
    "count": {
        "image_url": "u",
        "image_sha256": "ab",
        "count": 2,
        "label": "cats",
        "points": xy((3, 4), (5, 6)),
    },
}
READERS = {  # reader -> schema
    "pixmo_cap": "cap",
    "pixmo_cap_with_transcripts": "cap",
    "pixmo_ask_model_anything": "ask",
    "pixmo_cap_qa": "cap_qa",
    "pixmo_points": "points",
    "pixmo_points_counting": "points",
    "pixmo_points_high_freq": "points",
    "pixmo_points_high_freq_counting": "points",
    "pixmo_pointing_explanations": "explanations",
    "pixmo_docs_charts": "docs",
    "pixmo_docs_tables": "docs",
    "pixmo_docs_diagrams": "docs",
    "pixmo_docs_other": "docs",
    "clocks": "clocks",
    "pixmo_count": "count",
    "pixmo_count_counting": "count",
}
