"""Links are read from tables, parquet files and JSON lines, each picture once."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("datasets", reason="needs datasets to read tables")

from molmo_training.links import LinksError, read_links
from molmo_training.records import Remote
from molmo_training.sources.columns import SchemaError

ROWS = [
    {"image_url": "http://x/a.png", "image_sha256": None, "label": "cat"},
    {"image_url": "http://x/b.png", "image_sha256": "cd", "label": "dog"},
    {"image_url": "http://x/a.png", "image_sha256": "ab", "label": "mouse"},
]
LINKS = [Remote("http://x/a.png", "ab"), Remote("http://x/b.png", "cd")]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def table(tmp_path):
    """A copy of a set as the hub lays it out."""
    (tmp_path / "set" / "data").mkdir(parents=True)
    path = tmp_path / "set" / "data" / "train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def jsonl(tmp_path, *lines: str) -> str:
    (tmp_path / "links.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "links.jsonl")


def test_a_set_a_parquet_file_and_json_lines_give_the_same_links(table, tmp_path):
    assert read_links("pixmo_points", table.parents[1]) == LINKS
    assert read_links(str(table)) == LINKS
    assert read_links(jsonl(tmp_path, *map(json.dumps, ROWS))) == LINKS


def test_a_table_without_links_says_what_it_has(table, tmp_path):
    pq.write_table(pa.table({"url": ["u"]}), table)
    with pytest.raises(SchemaError, match=r"lacks column 'image_url' \(some text\); it has url"):
        read_links(str(table))
    with pytest.raises(SchemaError, match=r"allenai/pixmo-points: lacks column 'image_url'"):
        read_links("pixmo_points", table.parents[1])


def test_a_hash_may_be_missing_altogether(tmp_path):
    assert read_links(jsonl(tmp_path, '{"image_url": "u"}')) == [Remote("u")]


@pytest.mark.parametrize("line", ["{", "[]", "7", "http://x/a.png"])
def test_a_line_that_is_no_object_is_named(tmp_path, line):
    with pytest.raises(LinksError, match=r"links\.jsonl, line 2: wants a JSON object like"):
        read_links(jsonl(tmp_path, '{"image_url": "u"}', line))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"url": "u"}', "line 2: lacks column 'image_url'"),
        ('{"image_url": 5}', "row 1, column 'image_url': wants some text, got 5"),
        ('{"image_url": "u", "image_sha256": 5}', "row 1, column 'image_sha256': wants a text"),
    ],
)
def test_a_row_without_a_link_is_named(tmp_path, line, sentence):
    with pytest.raises(SchemaError, match=sentence):
        read_links(jsonl(tmp_path, '{"image_url": "u"}', line))


@pytest.mark.parametrize("source", ["pixmo_docs_charts", "clocks", "no-such-set", "links.csv"])
def test_what_has_no_links_names_those_that_have(source):
    with pytest.raises(LinksError, match=rf"{source}'?: wants a \.parquet .* pixmo_cap, "):
        read_links(source)


@pytest.mark.parametrize("source", ["gone.jsonl", "gone.parquet"])
def test_a_file_that_is_not_there_is_named(source):
    with pytest.raises(LinksError, match=f"{source}: is not there"):
        read_links(source)
