"""The Starbucks measurement at small size: every part takes part, and nothing is lost between them."""

import json
from pathlib import Path

import pytest

from loadtests.starbucks_service import DATA, ServicePlan, run_service, write_report
from loadtests.starbucks_value import SERVICE, UNIFORM

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there: KAIROS_DATA says where the data are"),
]
PEOPLE = 1_000


async def test_the_service_learns_from_two_waves_and_decides_the_third(tmp_path: Path) -> None:
    run = await run_service(DATA, tmp_path / "run", ServicePlan(people=PEOPLE), quiet=True)

    assert run.sound, (run.folded, run.published, run.archived, run.restarts)
    assert all(sent > 0 for sent, _ in run.folded.values())
    assert run.version.startswith("response-") and run.version in run.training
    assert sum(run.value.chosen.values()) == PEOPLE
    assert run.value.report.conclusive
    assert run.value.report.difference(SERVICE, UNIFORM).low > 0
    # Few persons, so the propensities are only held to tell who responds better than chance does.
    assert run.value.auc.low > 0.6

    write_report(run, tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["value"]["holds"] == run.value.holds
    assert written["folded"]["purchases"]["published"] == written["folded"]["purchases"]["held"]
