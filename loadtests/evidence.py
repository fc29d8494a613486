"""`make evidence AREA=…`: runs the measurements behind the claims of one area and prints them as a table.

A claim has a target, a measurement that runs the product, and a verdict. A missed target stays in the table as missed,
and makes the exit status 1.
"""

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

AREAS = ("path", "engine", "features", "models", "screens", "operations", "performance")
IMPLEMENTED = {
    "path": "loadtests.evidence_path",
    "engine": "loadtests.evidence_engine",
    "features": "loadtests.evidence_features",
    "models": "loadtests.evidence_models",
    "screens": "loadtests.evidence_screens",
    "operations": "loadtests.evidence_operations",
    "performance": "loadtests.evidence_performance",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found, in words with figures, and whether it reaches the target."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim. `command` is what a reader types to see the same; `quick` says it fits the five-minute run."""

    name: str
    target: str
    command: str
    measure: Callable[[], Measured]
    quick: bool = True


def main() -> int:
    """Runs one area, or all of them."""
    parser = argparse.ArgumentParser(prog="make evidence", description=__doc__)
    parser.add_argument("--area", choices=(*AREAS, "all"), default="all")
    parser.add_argument("--quick", action="store_true", help="only what ends within five minutes altogether")
    parser.add_argument("--only", help="only claims whose name contains this")
    args = parser.parse_args()
    areas = AREAS if args.area == "all" else (args.area,)
    verdicts = [_run_area(area, quick=args.quick, only=args.only) for area in areas]
    return 0 if all(verdicts) else 1


def _run_area(area: str, *, quick: bool, only: str | None) -> bool:
    if area not in IMPLEMENTED:
        print(f"{area}: its measurements are not part of this version")
        return False
    claims: Sequence[Claim] = importlib.import_module(IMPLEMENTED[area]).CLAIMS
    rows = []
    for claim in claims:
        if (only and only not in claim.name) or (quick and not claim.quick):
            continue
        print(f"… {claim.name}", file=sys.stderr, flush=True)
        started = time.monotonic()
        measured = _measure(claim)
        verdict = "holds" if measured.holds else "MISSED"
        rows.append((claim.name, claim.target, measured.text, verdict, claim.command))
        print(f"  {verdict}: {measured.text} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    print(f"\nEvidence for {area}" + (" (quick: the longer measurements are left out)" if quick else ""))
    _print_table(("claim", "target", "measured", "verdict", "command"), rows)
    return all(row[3] == "holds" for row in rows)


def _measure(claim: Claim) -> Measured:
    """A measurement that cannot run is a missed target with its reason, not a crash that hides the others."""
    try:
        return claim.measure()
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        return Measured(f"could not be measured: {error!r}"[:300], holds=False)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in row) + " |")


if __name__ == "__main__":
    sys.exit(main())
