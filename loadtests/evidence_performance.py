"""The claims of performance: those of every part, each in a module `loadtests.evidence_performance_<part>` of its own
with a `CLAIMS` tuple."""

import importlib
from pathlib import Path

from loadtests.evidence import Claim

FIRST = ("http", "overload", "ingest")
"""In the order of a reader's questions; the parts not named here follow by name."""


def parts() -> list[str]:
    """The parts there are."""
    own = Path(__file__)
    found = sorted(path.stem.removeprefix(f"{own.stem}_") for path in own.parent.glob(f"{own.stem}_*.py"))
    return [*(part for part in FIRST if part in found), *(part for part in found if part not in FIRST)]


def claims_of(part: str) -> tuple[Claim, ...]:
    """The part's claims."""
    return tuple(importlib.import_module(f"{__package__}.evidence_performance_{part}").CLAIMS)


CLAIMS = tuple(each for part in parts() for each in claims_of(part))
