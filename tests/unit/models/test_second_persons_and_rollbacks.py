"""Who counts as a second person, and that going back twice does not bring back what was taken out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from event_schemas.codec import decode
from models.manifest import Manifest
from services.commands import train
from services.commands.model_approvals import ProposalUnknown, promotion_in_place_of, rolling_back
from services.commands.models_now import ModelsNow
from services.settings import Settings
from services.use_cases.model_acts import Act, ApprovalMissing

NOON = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)


def act(actor: str, approved_by: str | None) -> Act:
    return Act(event_id="e1", at=NOON, actor=actor, approved_by=approved_by)


def manifest(version: str) -> Manifest:
    schema = FeatureSchema((Column(name="spend", source=ColumnSource.ATTRIBUTE),))
    return Manifest(
        name="cards",
        version=version,
        kind="gbdt",
        schema=schema,
        files={},
        created_at="2026-03-09T12:00:00Z",
        metrics={},
    )


@pytest.mark.parametrize(
    "approver",
    [
        None,
        "",
        "  ",
        "\u200b",
        "li.wei",
        " LI.WEI ",
        "li.wei\u200b",
        "li.\u00a0wei",
        "\uff4c\uff49.wei",
        "li.we\u00adi",
    ],
    ids=ascii,
)
def test_another_spelling_of_the_actor_is_no_second_person(approver: str | None) -> None:
    with pytest.raises(ApprovalMissing):
        act("li.wei", approver).require_second_person()


def test_an_accent_spelt_in_two_ways_is_one_person() -> None:
    with pytest.raises(ApprovalMissing):
        act("ren\u00e9", "Rene\u0301").require_second_person()


def test_somebody_else_is_a_second_person() -> None:
    act("li.wei", "zhao.min").require_second_person()


async def test_a_second_rollback_does_not_serve_again_what_was_taken_out() -> None:
    good, bad = manifest("cards-20260309T120000Z-0000000a"), manifest("cards-20260309T130000Z-0000000b")
    registry: Any = SimpleNamespace(verify={one.version: one for one in (good, bad)}.__getitem__)
    now, who = ModelsNow(), act("li.wei", "zhao.min")
    await now.note(promotion_in_place_of(None, good, who))
    await now.note(promotion_in_place_of(good.version, bad, who))

    back, event = rolling_back(now, "cards", registry, who)
    assert (back.version, event.type) == (good.version, "nbo.control.model.promoted")
    await now.note(event)

    with pytest.raises(ProposalUnknown, match=r"since the rollback of cards-20260309T130000Z-0000000b; .* by its name"):
        rolling_back(now, "cards", registry, who)


async def test_a_version_promoted_by_its_training_remembers_what_it_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    good, new = manifest("cards-20260309T120000Z-0000000a"), manifest("cards-20260309T130000Z-0000000b")
    now, told = ModelsNow(), list[Any]()
    await now.note(promotion_in_place_of(None, good, act("li.wei", "zhao.min")))

    class Bus:
        async def publish(self, events: list[Any]) -> None:
            told.extend(decode(event.value) for event in events)

    async def models_now(_: object) -> ModelsNow:
        return now

    @asynccontextmanager
    async def open_publisher(_: object) -> AsyncIterator[Bus]:
        yield Bus()

    monkeypatch.setattr(train, "models_now", models_now)
    monkeypatch.setattr(train, "open_publisher", open_publisher)
    await train._announce(Settings(), new, act("li.wei", "zhao.min"))

    [event] = told
    assert (event.data.version, event.data.previous_version) == (new.version, good.version)
