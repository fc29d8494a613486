"""The bench that acts are tried on."""

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def bench(governance_bench: ModuleType) -> Any:
    """An empty log whose nodes start with version bank-0."""
    return governance_bench.Bench()
