"""Fixtures of the simulated banks' tests."""

from pathlib import Path

import pytest


@pytest.fixture
def berka_folder(tiny_berka: Path) -> Path:
    """A tiny Berka bank."""
    return tiny_berka
