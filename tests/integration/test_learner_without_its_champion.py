"""A version that cannot be compared with the one in service is not promoted by the checks alone."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from services.use_cases.model_acts import promotion_of


def _module(name: str, path: Path) -> ModuleType:
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


async def test_where_the_version_in_service_cannot_be_loaded_nothing_is_promoted(
    tmp_path: Path, log: ModuleType
) -> None:
    promotes = _module("learner_promotes_world", Path(__file__).with_name("test_learner_promotes.py"))
    world = promotes.World(tmp_path, log)
    world.grow_to(1600)
    learner = world.learner()
    first = await learner.look(world.query)
    assert first is not None and first.problems == ()
    elsewhere = "cross_sell-20260101T000000Z-00000000"
    lost = promotion_of(first.manifest, event_id="E-lost", at=next(world.moments), actor="li.wei")
    await learner.on_control(lost.model_copy(update={"data": lost.data.model_copy(update={"version": elsewhere})}))

    world.grow_to(2200)
    second = await learner.look(world.query)

    assert second is not None
    assert second.problems == (f"not_worse_than_champion: {elsewhere} is in service and cannot be loaded",)
    assert world.promoted() == [first.manifest.version]
