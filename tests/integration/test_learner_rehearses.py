"""What the learner serves has learnt from all rows; what it is judged by has not seen the rows it is judged on."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def promotes() -> ModuleType:
    """The world of the learner's promotions."""
    spec = spec_from_file_location("learner_rehearses_world", Path(__file__).with_name("test_learner_promotes.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def test_a_refit_is_compared_on_the_later_half_of_what_is_new_to_the_version_in_service(
    tmp_path: Path, log: ModuleType, promotes: ModuleType
) -> None:
    world = promotes.World(tmp_path, log)
    world.grow_to(1600)
    learner = world.learner()
    first = await learner.look(world.query)
    world.grow_to(2600)
    second = await learner.look(world.query)

    assert first is not None and second is not None and first.problems == second.problems == ()
    before, after = first.manifest.data, second.manifest.data
    assert before is not None and after is not None
    assert before.held_out_since_ms == before.until_ms and after.held_out_since_ms == after.until_ms
    (finding,) = [c.finding for c in second.assessment.checks if c.name == "not_worse_than_champion"]
    compared = re.search(r"(\d+) rows", finding)
    assert compared is not None
    assert int(compared[1]) == pytest.approx((after.rows - before.rows) / 2, abs=2)
