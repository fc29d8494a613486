"""From wire events to updates, and from there to attributes."""

import json

import pytest

from decision_engine.features.definitions import AttributeType
from decision_engine.features.updates import EVENT_FIELDS, topic_index, update_from_event
from decision_engine.identifiers import key64
from event_schemas.codec import decode
from event_schemas.topics import STATE_TOPICS


def make_event(event_type, data, **overrides):
    envelope = {
        "specversion": "1.0",
        "id": "e1",
        "type": event_type,
        "source": "core-banking",
        "subject": "retail:1787",
        "time": "2026-03-05T10:12:00+08:00",
        "data": data,
    }
    return decode(json.dumps({**envelope, **overrides}).encode())


def test_a_posting_carries_its_fields_without_the_missing_ones():
    data = {"account_id": "1787", "direction": "credit", "amount": 380000, "currency": "CZK", "kind": "transfer_in"}
    update = update_from_event(make_event("bank.transaction.posted", data))
    assert update.event_key == key64("core-banking/e1")
    assert update.source == "bank.transaction.posted"
    assert update.time_ms == 1_772_676_720_000
    assert update.fields == data


def test_dates_are_midnight_utc_in_milliseconds():
    update = update_from_event(make_event("bank.product.opened", {"product": "deposit", "matures_on": "2026-03-05"}))
    assert update.fields == {"product": "deposit", "matures_on": 1_772_668_800_000}


def test_a_profile_update_carries_attributes():
    update = update_from_event(make_event("bank.profile.updated", {"attributes": {"age": 40, "vip": True}}))
    assert update.attributes == {"age": 40, "vip": True}
    assert update.fields == {}


def test_the_fields_of_every_state_event_are_known_with_their_types():
    assert {
        "bank.transaction.posted",
        "bank.channel.login",
        "bank.profile.updated",
        "bank.consent.changed",
        "bank.customer.erased",
        "bank.product.opened",
        "bank.product.closed",
        "bank.business.signal",
        "nbo.response.recorded",
    } <= EVENT_FIELDS.keys()
    assert "nbo.decision.made" not in EVENT_FIELDS
    posted = EVENT_FIELDS["bank.transaction.posted"]
    assert (posted["amount"], posted["kind"], posted["own_account"]) == (
        AttributeType.INT,
        AttributeType.STRING,
        AttributeType.BOOL,
    )
    assert EVENT_FIELDS["bank.product.opened"]["matures_on"] is AttributeType.TIMESTAMP
    assert EVENT_FIELDS["nbo.response.recorded"]["decided_at"] is AttributeType.TIMESTAMP


@pytest.mark.parametrize("topic", STATE_TOPICS)
def test_every_state_topic_has_a_position(topic):
    assert STATE_TOPICS[topic_index(topic)] == topic
