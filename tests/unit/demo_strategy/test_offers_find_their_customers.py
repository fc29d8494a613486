"""Rules that never let anything through fail silently, so the strategies are tried on the simulated bank."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import topic_index, update_from_event
from decision_engine.outcomes import Fate
from decision_engine.strategy import Strategy
from event_schemas.codec import decode
from event_schemas.profile import ProfileUpdated
from event_schemas.topics import topic_for
from services.simulation.bank import BankConfig, BankStream

CUSTOMERS, DAYS = 80, 45
PLACEMENTS = ("home_banner", "card_page_tile", "wealth_page_tile", "agent_panel", "inbox_lead")

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def events() -> list[Any]:
    """A small simulated bank, from its first day on, decoded."""
    stream = BankStream(BankConfig(seed=3, customers=CUSTOMERS, start=date(2026, 9, 20)))
    return [decode(timed.event.value) for _ in range(DAYS) for timed in stream.next_day().events]


def people_of(events: list[Any], customer: Make) -> Iterator[Any]:
    """Every customer of the simulated bank with the state its events leave."""
    updates: dict[str, list[PositionedUpdate]] = {}
    for offset, event in enumerate(events):
        own = updates.setdefault(event.subject, [])
        own.append(PositionedUpdate(topic_index(topic_for(event.type)), offset, update_from_event(event)))
    for subject, own in updates.items():
        person = customer()
        person.customer_id, person.now_ms = subject, events[-1].time_ms
        person.state = fold(person.features, None, own).value
        yield person


def test_the_simulated_bank_speaks_the_strategys_words(events: list[Any], demo_bank: Strategy) -> None:
    profile = {attribute.name: attribute for attribute in demo_bank.declarations.profile}
    sent = {
        (name, value)
        for event in events
        if isinstance(event, ProfileUpdated)
        for name, value in event.data.attributes.items()
    }
    assert {name for name, _ in sent} <= set(profile)
    assert all(value in profile[name].values for name, value in sent if profile[name].values)


def test_most_offers_find_somebody_and_nearly_everybody_finds_an_offer(events: list[Any], customer: Make) -> None:
    alive: Counter[str] = Counter()
    answered = 0
    for person in people_of(events, customer):
        decisions = [person.asks(placement, 3, page="home") for placement in PLACEMENTS]
        answered += bool(decisions[0].placements[0].options)
        alive.update({c.offer for decision in decisions for c in decision.candidates if c.fate is not Fate.REJECTED})
    assert answered >= 0.8 * CUSTOMERS
    assert len(alive) >= 22, f"only these find anybody: {sorted(alive)}"
