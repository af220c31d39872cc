"""What all tests share: where golden numbers, recordings and published files are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from recipes import GOLDEN


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden numbers."""
    return GOLDEN


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with bags/ (recordings) and published/ (files), named by MOLMO_TEST_DATA."""
    named = os.environ.get("MOLMO_TEST_DATA")
    if not named:
        pytest.skip("MOLMO_TEST_DATA is not set: no recordings, no published files")
    if not Path(named).is_dir():
        pytest.skip(f"MOLMO_TEST_DATA names {named}, which is no directory")
    return Path(named)
