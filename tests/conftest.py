"""Lifetimes shared by the whole suite: real servers, from Python packages or by address."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.adapters.embedded_servers import EmbeddedServers

ROOT = Path(__file__).parents[1]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[EmbeddedServers]:
    """A fresh Valkey and broker of one test's own."""
    async with EmbeddedServers.start(tmp_path / "servers") as started:
        yield started


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets; tests that need them are skipped, and say so, where they are absent."""
    folder = Path(os.environ.get("KAIROS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "berka" / "trans.asc.gz").exists():
        pytest.skip(f"no real data at {folder}: set KAIROS_DATA to run this test")
    return folder
