"""From records to facts and memories: what counts, what is passed over, what is refused, and what stays bounded."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from decision_engine.attribution import AttributionTerms, ConversionRule
from decision_engine.attribution_memory import (
    MAX_CONVERSIONS,
    MAX_TOUCHES,
    MAX_UNSEEN,
    Answered,
    AttributionMemory,
    Converted,
    Decided,
    DecidedOption,
    Erased,
    remember,
)
from decision_engine.attribution_rules import CompiledAttribution
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.offers import Offer
from decision_engine.outcomes import Outcome
from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES, TRANSACTIONS
from services.ports import Delivery
from services.workers.attributor_facts import FactReader, FactUnreadable
from services.workers.attributor_values import read_memory, written_memory

DAY = 86_400_000
NOW = 1_795_254_600_000
"""2026-11-21T09:50:00Z."""


class Standing:
    def now_ms(self) -> int:
        return NOW


@pytest.fixture
def reader(make_terms: Callable[..., AttributionTerms]) -> FactReader:
    rules = (ConversionRule(outcome=Outcome.CONVERT), ConversionRule(event="bank.product.opened"))
    gold = Offer(
        name="gold_card", group="cards", issue="acquire", value=5000, base_rate=0.1, lever=0.0, model="m",
        title={"en": "Gold"}, treatments=(), product="gold",
    )  # fmt: skip
    return FactReader(CompiledAttribution(make_terms(conversions=rules), (gold,), EVENT_FIELDS), Standing())


def record(topic: str, kind: str, data: Mapping[str, Any], time: str = "2026-11-21T09:00:00Z") -> Delivery:
    event = {"specversion": "1.0", "id": "e1", "type": kind, "source": "core", "subject": "retail:1", "time": time,
             "data": data}  # fmt: skip
    return Delivery(topic, 0, 7, b"retail:1", orjson.dumps(event), ())


def test_an_opened_product_is_a_conversion_of_the_offers_of_that_product(reader: FactReader) -> None:
    found = reader.read(record(PROFILE_UPDATES, "bank.product.opened", {"product": "gold"}))
    assert found is not None
    customer, positioned = found
    assert (customer, positioned.offset) == ("retail:1", 7)
    assert isinstance(positioned.fact, Converted)
    assert positioned.fact.conversion.offers == ("gold_card",)


@pytest.mark.parametrize(
    ("topic", "kind", "data"),
    [
        (PROFILE_UPDATES, "bank.product.opened", {"product": "never_offered"}),
        (PROFILE_UPDATES, "bank.product.closed", {"product": "gold"}),
        (PROFILE_UPDATES, "bank.profile.updated", {"attributes": {"age": 40}}),
        (TRANSACTIONS, "bank.transaction.posted", {"broken": True}),
    ],
)
def test_what_is_no_conversion_is_passed_over(reader: FactReader, topic: str, kind: str, data: dict[str, Any]) -> None:
    assert reader.read(record(topic, kind, data)) is None


@pytest.mark.parametrize(
    "delivery",
    [
        record(PROFILE_UPDATES, "bank.product.opened", {"product": 7}),
        record(RESPONSES, "nbo.response.recorded", {}),
        record(DECISIONS, "nbo.decision.made", {"placements": "none"}),
        Delivery(DECISIONS, 0, 0, b"k", b"{broken", ()),
        record(PROFILE_UPDATES, "bank.product.opened", {"product": "gold"}, "2026-11-21T10:00:00Z"),
        record(PROFILE_UPDATES, "bank.product.opened", {"product": "gold"})._replace(key=b"retail:2"),
        record(PROFILE_UPDATES, "bank.product.opened", {"product": "gold"})._replace(key=None),
        record(TRANSACTIONS, "bank.customer.erased", {}),
    ],
    ids=[
        *("a wrong type", "a response without fields", "no placements", "no JSON", "from the future"),
        *("another customer's key", "no key", "another topic"),
    ],
)
def test_what_should_say_something_and_does_not_is_refused(reader: FactReader, delivery: Delivery) -> None:
    with pytest.raises(FactUnreadable):
        reader.read(delivery)


def test_two_clients_may_give_the_same_response_id_for_two_conversions(reader: FactReader) -> None:
    said = {
        "response_id": "r1", "tracking_id": "D1.0", "decision_id": "D1", "customer_id": "retail:1",
        "offer": "gold_card", "group": "cards", "issue": "acquire", "treatment": "gold_card.mobile.main",
        "channel": "mobile", "placement": "home", "outcome": "convert", "time": "2026-11-21T09:00:00Z",
        "decided_at": "2026-11-21T08:00:00Z", "detail": {},
    }  # fmt: skip
    found = set()
    for source in ("kairos/app", "kairos/branch"):
        delivery = record(RESPONSES, "nbo.response.recorded", said)
        assert delivery.value is not None
        told = orjson.dumps(orjson.loads(delivery.value) | {"source": source})
        read = reader.read(delivery._replace(value=told))
        assert read is not None and isinstance(read[1].fact, Answered) and read[1].fact.conversion is not None
        found.add(read[1].fact.conversion.id)
    assert len(found) == 2


def test_a_tombstone_says_nothing_and_an_erasure_is_a_fact(reader: FactReader) -> None:
    assert reader.read(Delivery(PROFILE_UPDATES, 0, 0, b"k", None, ())) is None
    found = reader.read(record(PROFILE_UPDATES, "bank.customer.erased", {}))
    assert found is not None and isinstance(found[1].fact, Erased)


def option(number: int) -> DecidedOption:
    return DecidedOption(tracking_id=f"D{number}.0", offer="gold_card", treatment="gold_card.x.main", placement="p")


def seen(number: int, at_ms: int, outcome: Outcome = Outcome.IMPRESSION) -> Answered:
    return Answered(option=option(number), channel="mobile", outcome=outcome, at_ms=at_ms)


def test_the_memory_stays_bounded_and_keeps_what_was_credited(
    make_terms: Callable[..., AttributionTerms], make_conversion: Callable[..., Any]
) -> None:
    terms, memory = make_terms(), AttributionMemory()
    remember(memory, [seen(0, NOW - DAY)], terms)
    (first,) = remember(memory, [Converted(conversion=make_conversion("c", NOW))], terms)
    news = remember(memory, [seen(number, NOW + number) for number in range(1, 3 * MAX_TOUCHES)], terms)
    assert news == (), "what was seen later changes nothing"
    assert len(memory.touches) == MAX_TOUCHES
    assert "D0.0" in memory.touches
    assert first.credits[0].touch.tracking_id == "D0.0"
    for number in range(3 * MAX_CONVERSIONS):
        remember(memory, [Converted(conversion=make_conversion(f"c{number}", NOW + number))], terms)
    decisions = [
        Decided(decision_id=f"X{n}", at_ms=NOW + n, channel="mobile", arm="full", experiments={}, options=(option(n),))
        for n in range(3 * MAX_UNSEEN)
    ]
    remember(memory, decisions, terms)
    assert len(memory.conversions) <= MAX_CONVERSIONS and len(memory.unseen) == MAX_UNSEEN
    assert memory.published.keys() <= memory.conversions.keys()


def test_when_credited_touches_must_go_the_conversion_stays_as_it_was_said(
    make_terms: Callable[..., AttributionTerms], make_conversion: Callable[..., Any]
) -> None:
    terms, memory = make_terms(), AttributionMemory()
    remember(memory, [seen(number, NOW - number) for number in range(MAX_TOUCHES)], terms)
    (said,) = remember(memory, [Converted(conversion=make_conversion("c", NOW))], terms)
    assert len(said.credits) == MAX_TOUCHES
    remember(memory, [seen(number, NOW - DAY - number) for number in range(100, 110)], terms)
    assert memory.published["c"].settled
    assert remember(memory, [seen(500, NOW - 1)], terms) == ()


def test_what_comes_later_than_agreed_corrects_nothing(
    make_terms: Callable[..., AttributionTerms], make_conversion: Callable[..., Any]
) -> None:
    terms, memory = make_terms(), AttributionMemory()
    remember(memory, [seen(1, NOW - DAY), Converted(conversion=make_conversion("c", NOW))], terms)
    (corrected,) = remember(memory, [seen(2, NOW - 2 * DAY)], terms)
    assert len(corrected.credits) == 2
    remember(memory, [seen(3, NOW + 8 * DAY)], terms)
    assert remember(memory, [seen(4, NOW - 3 * DAY)], terms) == ()


def test_a_stored_memory_takes_each_record_once_and_comes_back_as_it_was(
    make_terms: Callable[..., AttributionTerms],
) -> None:
    stored = read_memory(None)
    assert stored.is_new(RESPONSES, 5)
    assert not stored.is_new(RESPONSES, 5) and not stored.is_new(RESPONSES, 4)
    assert stored.is_new(DECISIONS, 0)
    remember(stored.memory, [seen(1, NOW, Outcome.CLICK)], make_terms())
    value = written_memory(stored)
    again = read_memory(value)
    assert (again.memory, again.positions, again.writes) == (stored.memory, stored.positions, 1)
    assert written_memory(again)[:12] != value[:12], "two writes never begin alike"
    assert len(value) < 300
