"""The 360 view, and events taken over HTTP."""

from types import ModuleType
from typing import Any

import orjson
import pytest

from decision_engine.outcomes import Outcome
from event_schemas.codec import decode
from services.ports import BusUnavailable
from services.use_cases.publish_events import PublishEvents
from services.use_cases.record_response import ResponseCommand
from services.use_cases.view_customer import ViewCustomer
from services.use_cases.wire_time import rfc3339


@pytest.fixture
def view(bank: Any) -> ViewCustomer:
    return ViewCustomer(live=lambda: bank.live, store=bank.store, clock=bank.clock)


async def test_a_customer_is_shown_by_theme_with_freshness(view: Any) -> None:
    shown = await view("retail:1")
    assert shown.known
    assert shown.feature_age_ms == 420
    basic = {attribute.name: attribute for attribute in shown.attributes["basic"]}
    assert basic["age"].value == 40
    assert basic["joined_at"].value == "2025-10-17T09:50:00.123Z"
    assert basic["phone"].sensitive
    assert [(a.name, a.value) for a in shown.attributes["transaction"]] == [("card_spend_sum_30d", 150_000)]
    assert shown.consents == {"marketing": True, "personalisation": True}


async def test_an_unknown_customer_is_empty_and_has_granted_nothing(view: Any) -> None:
    shown = await view("retail:404")
    assert (shown.known, shown.attributes, shown.holdings, shown.contacts) == (False, {}, (), ())
    assert shown.consents == {"marketing": False, "personalisation": False}


async def test_contacts_have_names_and_outcomes(
    bank: Any, view: Any, make_decision: Any, record_response: Any, command: Any
) -> None:
    answer = orjson.loads(await make_decision(command("home_banner:2")))
    options = answer["placements"][0]["options"]
    await record_response(
        [ResponseCommand(response_id="r", tracking_id=options[0]["tracking_id"], outcome=Outcome.REJECT)]
    )
    shown = await view("retail:1")
    by_offer = {contact.offer: contact for contact in shown.contacts}
    assert by_offer["gold_card"].outcomes == ("reject",)
    assert (by_offer["gold_card"].status, by_offer["cash_plan"].status) == ("contacted", "reserved")
    assert (by_offer["cash_plan"].issue, by_offer["cash_plan"].channel) == ("grow", "mobile")
    assert [contact.offer for contact in shown.responses] == ["gold_card"]
    bank.clock.moment += 3_600_000
    later = {contact.offer: contact.status for contact in (await view("retail:1")).contacts}
    assert later["cash_plan"] == "lapsed"


def login(**overrides: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "e1",
        "type": "bank.consent.changed",
        "source": "app",
        "subject": "retail:1",
        "time": "2026-11-21T09:00:00Z",
        "data": {"purpose": "marketing", "granted": False},
    } | overrides


async def test_valid_events_are_published_and_the_others_named(bank: Any) -> None:
    publish = PublishEvents(publisher=bank.bus, clock=bank.clock)
    taken = await publish([login(), login(subject="nobody"), 7, login(id="e2", type="bank.unheard.of")])
    assert taken.accepted == 1
    assert [index for index, _ in taken.rejected] == [1, 2, 3]
    (event,) = bank.bus.events
    assert (event.topic, event.key, decode(event.value).id) == ("bank.profile-updates.v1", "retail:1", "e1")


async def test_nobody_sends_this_systems_own_events(bank: Any, make_decision: Any, command: Any) -> None:
    await make_decision(command())
    own = orjson.loads(bank.bus.events.pop().value)
    taken = await PublishEvents(publisher=bank.bus, clock=bank.clock)([own])
    assert (taken.accepted, bank.bus.events) == (0, [])
    assert "bank." in taken.rejected[0][1]


async def test_an_event_too_far_ahead_is_refused_by_its_time(bank: Any, small_bank: ModuleType) -> None:
    def at(ahead_ms: int) -> dict[str, Any]:
        return login(time=rfc3339(small_bank.NOW + ahead_ms))

    taken = await PublishEvents(publisher=bank.bus, clock=bank.clock)([at(300_000), at(300_001)])
    assert (taken.accepted, len(bank.bus.events)) == (1, 1)
    ((index, why),) = taken.rejected
    assert (index, why) == (1, "time: lies more than 5 minutes ahead of our clock")


async def test_in_a_replay_events_of_any_time_are_taken(bank: Any) -> None:
    taken = await PublishEvents(publisher=bank.bus, clock=None)([login(time="2036-11-21T09:00:00Z")])
    assert taken.accepted == 1


async def test_without_the_bus_no_event_is_taken(bank: Any) -> None:
    bank.bus.gone = True
    with pytest.raises(BusUnavailable):
        await PublishEvents(publisher=bank.bus, clock=bank.clock)([login()])
