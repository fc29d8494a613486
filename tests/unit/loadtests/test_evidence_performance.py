"""`make evidence AREA=performance` and `make bench`: every part is there, every command exists."""

import importlib.util
from pathlib import Path

import pytest

from loadtests.bench import BENCHMARKS
from loadtests.evidence import IMPLEMENTED
from loadtests.evidence_performance import CLAIMS, claims_of, parts

ROOT = Path(__file__).parents[3]


def test_the_area_is_known_and_has_the_claims_of_every_part() -> None:
    assert IMPLEMENTED["performance"] == "loadtests.evidence_performance"
    assert parts()[0] == "http"
    assert [claim for part in parts() for claim in claims_of(part)] == list(CLAIMS)
    assert all(claims_of(part) for part in parts())


def test_no_two_claims_have_one_name() -> None:
    names = [claim.name for claim in CLAIMS]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_names_a_command_whose_parts_exist(claim) -> None:
    words = claim.command.split()
    modules = [word for word in words if word.startswith("loadtests.")]
    paths = [word for word in words if word.startswith("tests/")]

    assert modules or paths or words[0] in ("kairos", "make")
    assert all(importlib.util.find_spec(module) for module in modules)
    assert all((ROOT / path.partition("::")[0]).exists() for path in paths)


def test_every_benchmark_is_a_module_and_the_report_comes_last() -> None:
    assert all(importlib.util.find_spec(f"loadtests.{module}") for _, module in BENCHMARKS.values())
    assert list(BENCHMARKS)[-1] == "report"


def test_the_claims_of_capacity_are_verdicts_of_its_measurement() -> None:
    from loadtests.open_loop import capacity_result

    source = Path(capacity_result.__file__).read_text()
    own = [claim for claim in claims_of("http") if claim.command == "python -m loadtests.open_loop.capacity"]

    assert len(own) == 6
    assert all(f'"{claim.name}"' in source for claim in own)
