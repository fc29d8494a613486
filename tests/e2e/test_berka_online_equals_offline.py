"""The Berka bank through real servers and a state builder: every online aggregate equals pandas on the raw files."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 5
"""Enough for the suite; `make evidence AREA=path` kills twenty times."""


@pytest.fixture(scope="module")
def exactness() -> Iterator[ModuleType]:
    """The measurement that `make evidence` runs as well; it lives beside the benchmarks, outside the packages."""
    sys.path.insert(0, str(ROOT))
    try:
        yield importlib.import_module("loadtests.berka_exactness")
    finally:
        sys.path.remove(str(ROOT))


@pytest.mark.data
@pytest.mark.servers
@pytest.mark.timeout(300)
async def test_every_online_aggregate_of_every_account_equals_the_recomputation_from_raw_files(
    exactness: ModuleType, data_folder: Path
) -> None:
    result = await exactness.measure(data_folder / "berka")

    assert result.differences == ()
    assert (result.accounts, result.events) == (989, 39_661)
    assert result.compared > 100_000


@pytest.mark.data
@pytest.mark.servers
@pytest.mark.timeout(600)
async def test_killing_the_state_builder_again_and_again_changes_nothing(
    exactness: ModuleType, data_folder: Path
) -> None:
    result = await exactness.measure(data_folder / "berka", kills=KILLS, dates=exactness.FULL_DATES[-1:])

    assert result.kills == KILLS
    assert result.differences == ()
    assert result.accounts == 989
