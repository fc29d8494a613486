"""The simulated bank's journeys, troubles and points: each begins, and ends, as the scenarios need it."""

from collections import defaultdict
from datetime import date
from typing import Any

import pytest

from event_schemas.codec import decode
from event_schemas.transactions import TransactionPosted
from services.simulation.bank import BankConfig, BankStream

CUSTOMERS, DAYS = 400, 60
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def happened() -> dict[str, list[Any]]:
    """Sixty days of a small bank, decoded, by event type; of the postings only those of journeys."""
    stream = BankStream(BankConfig(seed=9, customers=CUSTOMERS, start=date(2026, 3, 1)))
    found: dict[str, list[Any]] = defaultdict(list)
    for _ in range(DAYS):
        for timed in stream.next_day().events:
            value = timed.event.value
            if b"bank.transaction.posted" in value and b"airline" not in value and b"visa_fee" not in value:
                continue  # decoding them all would take seconds
            event = decode(value)
            found[event.type].append(event)
    return found


def test_every_flight_booked_has_its_departure_ten_days_later(happened: dict[str, list[Any]]) -> None:
    flights = {
        (event.subject, event.time.date())
        for event in happened["bank.transaction.posted"]
        if isinstance(event, TransactionPosted) and event.data.category == "airline"
    }
    departures = [e for e in happened["bank.profile.updated"] if set(e.data.attributes) == {"departure_at"}]
    assert len(departures) > 20
    assert {(event.subject, event.time.date()) for event in departures} == flights
    for event in departures:
        assert 9 * DAY_MS < event.data.attributes["departure_at"] - event.time_ms < 10 * DAY_MS


def test_visa_fees_are_paid_before_a_journey_and_only_then(happened: dict[str, list[Any]]) -> None:
    fees = [e for e in happened["bank.transaction.posted"] if e.data.category == "visa_fee"]
    travellers = {e.subject for e in happened["bank.transaction.posted"] if e.data.category == "airline"}
    assert fees
    assert {event.subject for event in fees} <= travellers


def test_what_goes_wrong_is_put_right(happened: dict[str, list[Any]]) -> None:
    opened = {event.data.incident_id: event for event in happened["bank.channel.incident_opened"]}
    closed = {event.data.incident_id: event for event in happened["bank.channel.incident_closed"]}
    assert {event.data.incident for event in opened.values()} == {"card_lost", "payment_failed"}
    assert set(closed) <= set(opened)
    for number, ending in closed.items():
        beginning = opened[number]
        assert (beginning.subject, beginning.data.incident) == (ending.subject, ending.data.incident)
        assert beginning.time < ending.time
    still_open = [event for number, event in opened.items() if number not in closed]
    assert {event.data.incident for event in still_open} <= {"card_lost"}, "a failed payment is solved the same day"


def test_points_come_from_cards_payments_and_activities(happened: dict[str, list[Any]]) -> None:
    earned = happened["bank.channel.points_earned"]
    assert {event.data.source for event in earned} == {"card", "payment", "activity"}
    assert len({event.subject for event in earned}) > CUSTOMERS * 0.9


def test_guardians_speak_for_minors_alone(happened: dict[str, list[Any]]) -> None:
    said = {e.subject: e.data.granted for e in happened["bank.consent.changed"] if e.data.purpose == "guardian"}
    minors = {
        event.subject
        for event in happened["bank.profile.updated"]
        if event.data.attributes.get("life_stage") == "minor"
    }
    assert set(said) == minors
    assert set(said.values()) == {True, False}
