"""Requests that name a trigger: it decides among its own offers, and only a declared one is taken."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

from decision_engine.features.definitions import AttributeType, ContextAttribute
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Trigger

QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner", "count": 3}]}


async def test_a_trigger_decides_among_its_own_offers_and_must_be_declared(
    small_bank: ModuleType, connect: Callable[..., Any]
) -> None:
    named = ContextAttribute(name="trigger", type=AttributeType.STRING, description={"en": "Trigger"})
    trigger = Trigger(
        name="login",
        title={"en": "Login"},
        pattern=Pattern(shape=Shape.EVENT, steps=(EventPattern(source="bank.channel.login"),)),
        contact=Contact(placement="home_banner", channel="mobile"),
        offers=frozenset({"cash_plan"}),
    )
    context = (*small_bank.DECLARATIONS.context, named)
    live = small_bank.live(declarations=replace(small_bank.DECLARATIONS, context=context), triggers=(trigger,))
    client = await connect(live=lambda: live)
    every = await client.post("/v1/decisions", json=QUESTION | {"dry_run": True})
    assert {option["offer"] for option in every.json()["placements"][0]["options"]} == {"gold_card", "cash_plan"}
    own = await client.post("/v1/decisions", json=QUESTION | {"context": {"trigger": "login"}})
    assert [option["offer"] for option in own.json()["placements"][0]["options"]] == ["cash_plan"]
    unknown = await client.post("/v1/decisions", json=QUESTION | {"context": {"trigger": "logon"}})
    assert unknown.status_code == 422
    assert [(error["path"], error["code"]) for error in unknown.json()["errors"]] == [
        ("context.trigger", "unknown_trigger")
    ]


async def test_without_triggers_nobody_may_name_one(connect: Callable[..., Any]) -> None:
    client = await connect()
    refused = await client.post("/v1/decisions", json=QUESTION | {"context": {"trigger": "login"}})
    assert [error["code"] for error in refused.json()["errors"]] == ["unknown_field"]
