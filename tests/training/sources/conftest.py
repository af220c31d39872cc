"""Small parquet files with published schemas, and where the `datasets` library may write."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

datasets = pytest.importorskip("datasets", reason="needs datasets to read tables")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Tables are prepared here, and nothing is looked for on the net."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def parquet(tmp_path):
    """Writes rows as DIR/data/SPLIT-*.parquet, as the hub lays them out; returns DIR."""

    def write(rows: list[dict], schema: pa.Schema, split: str = "train", folder: str = "data"):
        path = tmp_path / folder / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        return tmp_path

    return write
