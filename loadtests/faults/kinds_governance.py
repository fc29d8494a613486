"""Bad versions pushed through governance: refused, and what decided before goes on deciding."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import lightgbm
import numpy as np

from decision_engine.errors import DecisionEngineError
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from event_schemas.topics import CONTROL
from loadtests.faults.bank import strategy_text
from loadtests.faults.battle import Battle
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.artifact_model_provider import promotion_of
from services.adapters.control_topic import control_event
from services.commands.governance_connections import open_governance
from services.ports import OutgoingEvent, ShellError

_BROKEN = (
    ("name: fault_bank", "name: fault_bank\nunheard_of: 1"),
    ("limit: 3", "limit: three"),
    ("of: once", "of: never_heard_of"),
    ("base_rate: 0.1", "base_rate: 1.1"),
    ("placements: [banner]", "placements: [nowhere]"),
    ("aggregate: count", "aggregate: frobnicate"),
    ("issues:", "issues: ["),
)
_SCHEMA = FeatureSchema(
    (Column(name="posted", source=ColumnSource.ATTRIBUTE), Column(name="spent", source=ColumnSource.ATTRIBUTE))
)
_MODELS_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


async def bad_strategy(battle: Battle, draw: random.Random) -> None:
    """A strategy that does not load is handed in: refused with its reasons, and nothing of it is kept."""
    good, bad = draw.choice(_BROKEN)
    files = {"strategy.yaml": strategy_text(1000 + battle.system.number()).replace(good, bad, 1)}
    async with open_governance(battle.system.settings) as opened:
        before = opened.desk.active_version(), len(opened.desk.state().versions)
        try:
            await opened.desk.submit(files, actor="anna", comment="a fault")
        except (ShellError, DecisionEngineError) as error:
            battle.expect(bool(str(error)), "a bad strategy was refused without a reason")
        else:
            battle.expect(False, f"a strategy with {bad!r} was taken")
        after = opened.desk.active_version(), len(opened.desk.state().versions)
        battle.expect(before == after, "a refused strategy left something behind")


async def unapproved_strategy(battle: Battle, draw: random.Random) -> None:
    """A sound version is activated by whoever handed it in, without a second person: refused."""
    files = {"strategy.yaml": strategy_text(1000 + battle.system.number())}
    async with open_governance(battle.system.settings) as opened:
        record = await opened.desk.submit(files, actor="anna", comment="a fault")
        for act in (opened.desk.approve, opened.desk.activate):
            try:
                await act(record.version, actor="anna")
            except (ShellError, DecisionEngineError):
                continue
            battle.expect(False, "one person alone brought a version to decide")
        battle.forbidden.add(record.version)
        await opened.desk.retire(record.version, actor="anna")


async def bad_model(battle: Battle, draw: random.Random) -> None:
    """A model version that is cut short, altered, unknown or of other columns is promoted: no node serves it."""
    manifest = _registered(battle, draw)
    battle.forbidden.add(manifest.version)
    path = battle.system.settings.model_path / manifest.version / "model.txt"
    match draw.randrange(3):
        case 0:
            path.write_bytes(path.read_bytes()[: draw.randrange(10, 200)])
        case 1:
            path.write_bytes(path.read_bytes().replace(b"leaf_value", b"leaf_valve"))
        case _:
            manifest = replace(manifest, version=manifest.version[:-8] + "00000000")
            battle.forbidden.add(manifest.version)
    event = promotion_of(manifest, event_id=f"P{battle.system.number()}", at=datetime.now(UTC), actor="anna")
    await battle.system.post([control_event(event)])


async def malformed_control(battle: Battle, draw: random.Random) -> None:
    """What is no act stands on the topic of acts: passed over."""
    values = (b"no JSON", b"{}", b'{"type": "nbo.control.strategy.activated"}', b"\xff\xfe")
    await battle.system.post([OutgoingEvent(topic=CONTROL, key="strategy:active-not", value=draw.choice(values))])


def _registered(battle: Battle, draw: random.Random) -> Manifest:
    number = battle.system.number()
    numbers = np.random.default_rng(draw.randrange(2**32))
    matrix = numbers.normal(size=(200, len(_SCHEMA.columns)))
    labels = (matrix[:, 0] > 0).astype(float)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 4}
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, labels), 3)
    files = {"model.txt": booster.model_to_string().encode(), "calibration.json": b'{"kind": "identity"}'}
    draft = Manifest(name="cross_sell", version="", kind="gbdt", schema=_SCHEMA, files={}, created_at="")
    return ModelRegistry(battle.system.settings.model_path).save(
        draft, files, _MODELS_BEGAN + timedelta(minutes=number)
    )
