"""Patterns at the edges of their stretches, their guards, and what is remembered of them."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import AttributeType
from decision_engine.features.update import Update
from decision_engine.triggers.definitions import EventPattern, Shape
from decision_engine.triggers.memory import MOST_EVENTS
from decision_engine.triggers.memory_codec import HEADER, MemoryUnreadable, decode_memory, encode_memory

INT = AttributeType.INT


def fires(customer, source, **fields):
    return len(customer.happens(source, **fields).fired)


def test_a_filter_lets_only_its_events_through(triggers: SimpleNamespace) -> None:
    pattern = triggers.pattern(Shape.EVENT, triggers.POSTED, where='direction == "credit"')
    customer = triggers.customer(triggers.trigger(pattern=pattern))
    assert fires(customer, triggers.POSTED, direction="debit") == 0
    assert fires(customer, triggers.POSTED, direction="credit") == 1


def test_the_triggers_know_which_events_concern_them(triggers: SimpleNamespace) -> None:
    pattern = triggers.pattern(Shape.EVENT, triggers.POSTED, where="amount >= 5")
    compiled = triggers.compiled(triggers.trigger(pattern=pattern))

    def concerns(source: str, **fields: object) -> bool:
        return compiled.interested(Update(event_key=1, source=source, time_ms=triggers.START, fields=fields))

    assert concerns(triggers.POSTED, amount=5)
    assert not concerns(triggers.POSTED, amount=4)
    assert not concerns(triggers.OPENED)
    assert concerns("bank.customer.erased")
    assert concerns("nbo.response.recorded", decision_id="D1", outcome="accept")
    assert not concerns("nbo.response.recorded", decision_id="D1", outcome="impression")
    assert triggers.compiled().is_empty
    assert not triggers.compiled().interested(Update(event_key=1, source=triggers.POSTED, time_ms=triggers.START))
    assert compiled.trigger("inflow") is not None
    assert compiled.trigger("outflow") is None


def test_a_threshold_against_the_own_history_leaves_this_event_out(triggers: SimpleNamespace) -> None:
    declared = triggers.trigger(before="event.amount >= 3.0 * inflow_mean", fields={"amount": INT})
    customer = triggers.customer(declared, inflow_mean=AttributeType.DOUBLE)
    customer.attributes = ({"inflow_mean": 100.0}, {"inflow_mean": 900.0})
    assert fires(customer, triggers.POSTED, amount=299) == 0
    (firing,) = customer.happens(triggers.POSTED, amount=300).fired
    assert firing.fields == {"amount": 300}


def test_the_other_guard_sees_the_customer_after_the_event(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(when="balance >= 50"), balance=INT)
    customer.attributes = ({"balance": 0}, {"balance": 50})
    assert fires(customer, triggers.POSTED) == 1


def test_a_guard_that_cannot_be_told_is_false(triggers: SimpleNamespace) -> None:
    unknown = triggers.customer(triggers.trigger(when="balance < 50"), balance=INT)
    assert fires(unknown, triggers.POSTED) == 0
    fieldless = triggers.customer(triggers.trigger(when="!(event.amount > 5)", fields={"amount": INT}))
    assert fires(fieldless, triggers.POSTED) == 0


def test_a_guard_over_a_name_nobody_knows_is_refused_when_compiled(triggers: SimpleNamespace) -> None:
    with pytest.raises(DecisionEngineError, match="balanc"):
        triggers.compiled(triggers.trigger(when="balanc > 5"), balance=INT)


def test_guards_are_not_asked_while_the_trigger_cools_down(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(when="balance > 5", cooldown_ms=triggers.DAY), balance=INT)
    customer.attributes = ({}, {"balance": 6})
    assert fires(customer, triggers.POSTED) == 1
    customer.attributes = (None, None)  # type: ignore[assignment]
    customer.now_ms += triggers.DAY - 1
    assert fires(customer, triggers.POSTED) == 0
    customer.attributes = ({}, {"balance": 6})
    customer.now_ms += 1
    assert fires(customer, triggers.POSTED) == 1


def test_a_stale_match_fires_nothing_but_counts_for_the_cooldown(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(cooldown_ms=triggers.DAY))
    assert customer.happens(triggers.POSTED, at_ms=triggers.START - triggers.HOUR - 1).fired == ()
    assert fires(customer, triggers.POSTED) == 0
    customer.now_ms += triggers.DAY - triggers.HOUR - 1
    assert fires(customer, triggers.POSTED) == 1


def test_a_count_includes_both_ends_of_its_stretch_and_begins_anew(triggers: SimpleNamespace) -> None:
    pattern = triggers.pattern(Shape.COUNT, triggers.POSTED, within_ms=triggers.HOUR, at_least=3)
    customer = triggers.customer(triggers.trigger(pattern=pattern))
    minutes = (0, 1, 60, 61, 62, 119, 120, 121)
    fired = [fires(customer, triggers.POSTED, at_ms=triggers.START + m * triggers.MINUTE) for m in minutes]
    assert fired == [0, 0, 1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(("submitted", "fired"), [(-1, 1), (0, 0), (30 * 60_000, 0), (30 * 60_000 + 1, 1)])
def test_an_absence_takes_an_answer_from_its_beginning_to_its_end(
    triggers: SimpleNamespace, submitted: int, fired: int
) -> None:
    for opened_first in (True, False):
        customer = triggers.customer(triggers.abandoned())
        at_ms = {triggers.OPENED: triggers.START, triggers.SUBMITTED: triggers.START + submitted}
        customer.now_ms += 5 * triggers.MINUTE
        for source in sorted(at_ms, reverse=not opened_first):
            customer.happens(source, at_ms=at_ms[source], form_id="x")
        assert len(customer.passes(25 * triggers.MINUTE).fired) == fired
        assert customer.passes(triggers.MINUTE).fired == ()


def test_an_absence_fires_at_its_end_and_once(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.abandoned())
    assert customer.happens(triggers.OPENED, key=10, form_id="x").due_ms == triggers.START + 30 * triggers.MINUTE
    assert customer.passes(30 * triggers.MINUTE - 1).fired == ()
    (firing,) = customer.passes(1).fired
    assert (firing.cause, firing.at_ms) == ("timer:000000000000000a", triggers.START + 30 * triggers.MINUTE)
    assert customer.delivered(firing.id).due_ms is None
    assert customer.passes(1).fired == ()


def test_opening_again_begins_the_stretch_anew(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.abandoned())
    customer.happens(triggers.OPENED, form_id="x")
    customer.now_ms += 20 * triggers.MINUTE
    customer.happens(triggers.OPENED, form_id="x")
    assert customer.passes(29 * triggers.MINUTE).fired == ()
    assert len(customer.passes(triggers.MINUTE).fired) == 1


def test_the_guard_before_an_absence_is_asked_when_it_begins_and_the_other_at_its_end(
    triggers: SimpleNamespace,
) -> None:
    customer = triggers.customer(triggers.abandoned(before="balance == 1", when="balance == 2"), balance=INT)
    customer.attributes = ({"balance": 1}, {"balance": 1})
    customer.happens(triggers.OPENED, form_id="x")
    customer.attributes = ({"balance": 2}, {"balance": 2})
    customer.happens(triggers.OPENED, form_id="y")
    (firing,) = customer.passes(30 * triggers.MINUTE).fired
    assert firing.cause == "timer:0000000000000001"


def test_an_event_without_the_shared_field_is_part_of_no_match(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.abandoned())
    assert customer.happens(triggers.OPENED).value is None


def test_a_typical_memory_is_small_and_nothing_to_remember_is_nothing(triggers: SimpleNamespace) -> None:
    waves = (triggers.wave(2 * triggers.DAY),)
    declared = triggers.trigger(
        cooldown_ms=30 * triggers.DAY, waves=waves, fields={"amount": INT}, when="event.amount > 1"
    )
    customer = triggers.customer(declared, triggers.abandoned(waves=waves))
    assert customer.happens(triggers.POSTED, amount=1).value is None
    (firing,) = customer.happens(triggers.POSTED, amount=9_000_000).fired
    customer.delivered(firing.id, "01J0000000000000000000000")
    customer.happens(triggers.OPENED, form_id="a-form-id-of-thirty-two-digits--")
    assert len(customer.memory) < 150
    assert customer.passes(90 * triggers.DAY).fired == ()  # both the wave and the reminder come too late
    assert customer.memory is None


def test_the_end_of_a_memory_is_told(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger())
    assert customer.happens(triggers.POSTED).until_ms is None
    advanced = customer.delivered(pending_id(customer))
    assert advanced.until_ms == triggers.START + triggers.DAY
    customer.now_ms = advanced.until_ms + 1
    assert customer.passes(0).value is None


def pending_id(customer):
    return customer.last.fired[0].id


def test_the_memory_is_bounded_and_says_what_it_drops(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.abandoned())
    for number in range(MOST_EVENTS):
        assert customer.happens(triggers.OPENED, form_id=f"form {number}").dropped == 0
    customer.now_ms += 1
    assert customer.happens(triggers.OPENED, form_id="one more").dropped == 1
    assert len(customer.memory) < 4_096
    assert len(customer.passes(30 * triggers.MINUTE).fired) <= MOST_EVENTS


def test_many_events_of_one_pattern_leave_the_newest(triggers: SimpleNamespace) -> None:
    pattern = triggers.pattern(Shape.COUNT, triggers.POSTED, within_ms=triggers.DAY, at_least=3)
    customer = triggers.customer(triggers.trigger(pattern=pattern, when="balance > 5"), balance=INT)
    for _ in range(500):
        customer.now_ms += 1
        assert customer.happens(triggers.POSTED).dropped == 0
    assert len(customer.memory) < 150


def test_memory_of_other_triggers_is_passed_over(triggers: SimpleNamespace) -> None:
    old = triggers.customer(triggers.trigger(cooldown_ms=triggers.DAY), triggers.abandoned())
    old.happens(triggers.POSTED)
    old.happens(triggers.OPENED, form_id="x")
    renamed = triggers.customer(triggers.trigger("other"), triggers.abandoned())
    renamed.memory = old.memory
    assert len(renamed.passes(30 * triggers.MINUTE).fired) == 1
    assert b"" if renamed.memory is None else len(renamed.memory) < len(old.memory)


def test_another_pattern_under_the_same_name_begins_anew(triggers: SimpleNamespace) -> None:
    old = triggers.customer(triggers.abandoned())
    old.happens(triggers.OPENED, form_id="x")
    declared = triggers.abandoned()
    longer = triggers.customer(replace(declared, pattern=replace(declared.pattern, within_ms=triggers.HOUR)))
    longer.memory = old.memory
    assert longer.passes(triggers.DAY).value is None


@pytest.mark.parametrize("value", [b"", b"\x09", HEADER.pack(9, 1, 1), HEADER.pack(1, 1, 1) + b"\x01\x7f\x00"])
def test_an_unreadable_memory_counts_as_one_lost_and_stops_nothing(triggers: SimpleNamespace, value: bytes) -> None:
    with pytest.raises(MemoryUnreadable):
        decode_memory(value)
    customer = triggers.customer(triggers.trigger())
    customer.memory = value
    advanced = customer.happens(triggers.POSTED)
    assert (len(advanced.fired), advanced.dropped) == (1, 1)


def test_a_memory_is_the_same_through_its_bytes_and_counts_its_writes(triggers: SimpleNamespace) -> None:
    cancelled_by = (EventPattern(source=triggers.SUBMITTED),)
    customer = triggers.customer(triggers.trigger(cancelled_by=cancelled_by, cooldown_ms=5), triggers.abandoned())
    customer.happens(triggers.OPENED, form_id="x")
    (firing,) = customer.happens(triggers.POSTED).fired
    customer.noted(firing.id, b"\x00\xff")
    memory = decode_memory(customer.memory)
    assert encode_memory(memory) == customer.memory
    assert memory.writes == 3
    assert memory.contacts[0].intent == b"\x00\xff"
