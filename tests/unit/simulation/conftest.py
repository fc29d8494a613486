"""Fixtures of the simulated banks' tests."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.fixture
def berka_folder(tmp_path: Path) -> Path:
    """A tiny Berka bank, written by `tests/tiny_berka.py`."""
    spec = spec_from_file_location("tiny_berka", Path(__file__).parents[2] / "tiny_berka.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    folder: Path = module.write_tiny_berka(tmp_path / "berka")
    return folder
