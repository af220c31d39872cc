"""Tables opened where they are, grouped by picture, split without a shared picture."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Image, load_dataset
from greys import png

from molmo_training.sources.columns import SchemaError
from molmo_training.sources.pixmo import PIXMO
from molmo_training.sources.source import open_records, stream_records

NAME = "pixmo_ask_model_anything"
ASK = PIXMO[NAME]
SCHEMA = pa.schema([(n, pa.string()) for n in ("image_url", "image_sha256", "question", "answer")])


def rows(*urls):
    return [
        {"image_url": url, "image_sha256": "", "question": f"{i}?", "answer": "yes"}
        for i, url in enumerate(urls)
    ]


def urls(records):
    return [record.picture.source.url for record in records]


@pytest.fixture
def forty(parquet):
    """Forty pictures with two questions each, which do not follow each other."""
    names = [f"http://x/{i}" for i in range(40)]
    return parquet(rows(*names, *names), SCHEMA)


def test_held_out_pictures_are_not_trained_on(forty):
    train = open_records(NAME, ASK, forty, held_out=8)
    validation = open_records(NAME, ASK, forty, "validation", held_out=8)
    assert (len(train), len(validation)) == (32, 8)
    assert not set(urls(train)) & set(urls(validation))
    assert all(len(record.annotations) == 2 for record in [*train, *validation])
    assert urls(validation) == urls(open_records(NAME, ASK, forty, "validation", held_out=8))


def test_the_held_out_pictures_are_those_of_the_published_seed(forty):
    held = load_dataset("parquet", data_files=str(forty / "data" / "*.parquet"), split="train")
    wanted = held.select(range(40)).train_test_split(test_size=8, seed=96817)["test"]
    validation = open_records(NAME, ASK, forty, "validation", held_out=8)
    assert sorted(urls(validation)) == sorted(wanted["image_url"])


def test_too_few_pictures_to_hold_out_are_told(forty):
    with pytest.raises(SchemaError, match=r"has 40 pictures, of which 2048 are to be held out"):
        open_records(NAME, ASK, forty)


def test_pictures_can_be_left_out(forty):
    left = open_records(NAME, ASK, forty, held_out=0, leave_out=["http://x/3", "http://x/4"])
    assert len(left) == 38
    assert not {"http://x/3", "http://x/4"} & set(urls(left))


def test_a_set_of_which_nothing_is_left_is_refused(parquet):
    schema = pa.schema([("image_url", pa.string()), ("count", pa.int64()), ("label", pa.string())])
    counts = parquet([{"image_url": "u", "count": 1, "label": "cup"}], schema)
    with pytest.raises(SchemaError, match=r"pixmo_count .*no picture in it"):
        open_records("pixmo_count", PIXMO["pixmo_count"], counts, leave_out=["u"])


def test_a_split_that_is_not_published_is_refused(forty):
    with pytest.raises(SchemaError, match="there is no split 'test': it has train and validation"):
        open_records(NAME, ASK, forty, "test")


def test_a_table_is_found_in_every_usual_place(parquet, tmp_path):
    directory = parquet(rows("u"), SCHEMA)
    (file,) = (directory / "data").glob("*.parquet")
    parquet(rows("u"), SCHEMA, folder="flat")
    parquet(rows("u"), SCHEMA, folder="by_split/train")
    table = load_dataset("parquet", data_files=str(file), split="train")
    table.save_to_disk(tmp_path / "saved")
    DatasetDict(train=table).save_to_disk(tmp_path / "splits")
    folders = [tmp_path / name for name in ("flat", "by_split", "saved", "splits")]
    for place in (directory, file, *folders):
        assert urls(open_records(NAME, ASK, place, held_out=0)) == ["u"], place


def test_a_directory_without_a_table_says_what_belongs_there(tmp_path):
    with pytest.raises(SchemaError, match=r"has no train\*\.parquet.*copy of allenai/pixmo-ask"):
        open_records(NAME, ASK, tmp_path)
    with pytest.raises(SchemaError, match=r"is not there.*hf download allenai/pixmo-ask-model"):
        open_records(NAME, ASK, tmp_path / "nowhere")


def test_records_are_a_sequence(forty):
    records = open_records(NAME, ASK, forty, held_out=0)
    assert urls(records[2:5]) == ["http://x/2", "http://x/3", "http://x/4"]
    assert urls(records[-1:]) == ["http://x/39"]
    with pytest.raises(IndexError):
        records[40]


def test_pictures_in_tables_are_not_decoded_before_they_are_wanted(tmp_path):
    pictures = [{"bytes": png(3), "path": None}, {"bytes": b"no picture", "path": None}]
    questions = [[{"question": "Why?", "answer": "So."}]] * 2
    columns = {"image": pictures, "image_id": ["1", "2"], "questions": questions}
    table = Dataset.from_dict(columns).cast_column("image", Image())
    table.to_parquet(tmp_path / "charts" / "train-00000-of-00001.parquet")
    source = PIXMO["pixmo_docs_charts"]
    streamed = list(stream_records("pixmo_docs_charts", source, tmp_path))
    for records in (open_records("pixmo_docs_charts", source, tmp_path), streamed):
        assert [record.picture.source for record in records] == [png(3), b"no picture"]
        assert (records[0].picture.load() == 3).all()
