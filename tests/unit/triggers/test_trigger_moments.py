"""Triggers that are due at a moment the profile names: told, told anew, told late, judged, and forgotten."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.conditions.moments import LAST_MOMENT_MS
from decision_engine.customer import CustomerSnapshot
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.update import Update
from decision_engine.triggers.definitions import EventPattern, Pattern, Shape, Trigger
from decision_engine.triggers.firing import Advanced
from decision_engine.triggers.matching import Step, match, planned_ms
from decision_engine.triggers.memory_codec import decode_memory

TOLD = "bank.profile.updated"
OPENED = EventPattern(source="bank.product.opened")
Make = Callable[..., Trigger]


@pytest.fixture
def maturing(triggers: SimpleNamespace) -> Make:
    """A trigger seven days before a maturity, unless told otherwise."""

    def making(shift_ms: int = -7 * triggers.DAY, **more: Any) -> Trigger:
        steps = (EventPattern(source=TOLD),)
        pattern = Pattern(shape=Shape.MOMENT, steps=steps, attribute="matures_at", shift_ms=shift_ms)
        return triggers.trigger("maturing", pattern, **more)

    return making


@pytest.fixture
def customer(triggers: SimpleNamespace) -> Callable[..., Any]:
    """Whose profile has a maturity and a balance."""
    return lambda *declared: triggers.customer(*declared, matures_at=AttributeType.TIMESTAMP, balance=AttributeType.INT)


def tell(person: Any, key: int, *, now: Value | None = None, at_ms: int | None = None, **told: Value) -> Advanced:
    """The profile tells something; `now` is the maturity its state has after that, what was told unless given."""
    known = told.get("matures_at") if now is None else now
    person.attributes = person.attributes[1], {**person.attributes[1], **told}
    if known is not None:
        person.attributes[1]["matures_at"] = known
    before, after = person.attributes
    step = Step(
        update=Update(key, TOLD, person.now_ms if at_ms is None else at_ms, {}, told),
        before=lambda: CustomerSnapshot(known=True, attributes=before),
        after=lambda: CustomerSnapshot(known=True, attributes=after),
    )
    return person._noted(match(person.triggers, "retail:1787", person.memory, [step], person.now_ms))


def test_it_fires_once_as_long_before_the_moment_as_its_lead(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person, matures_at = customer(maturing()), triggers.START + 10 * triggers.DAY
    assert tell(person, 1, matures_at=matures_at).due_ms == matures_at - 7 * triggers.DAY
    assert person.last.fired == ()
    assert person.passes(3 * triggers.DAY - 1).fired == ()
    (firing,) = person.passes(1).fired
    assert (firing.trigger, firing.wave, firing.at_ms) == ("maturing", 0, matures_at - 7 * triggers.DAY)
    assert firing.cause.startswith("timer:")
    assert person.passes(triggers.DAY).fired == ()


@pytest.mark.parametrize("shift_days", [-7, 0, 1])
def test_it_is_due_before_at_or_after_the_moment(
    triggers: SimpleNamespace, maturing: Make, customer: Any, shift_days: int
) -> None:
    person, matures_at = customer(maturing(shift_days * triggers.DAY)), triggers.START + 10 * triggers.DAY
    assert tell(person, 1, matures_at=matures_at).due_ms == matures_at + shift_days * triggers.DAY


def test_the_same_moment_told_again_changes_nothing_before_and_after_it_fired(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person, matures_at = customer(maturing()), triggers.START + 7 * triggers.DAY + triggers.HOUR
    tell(person, 1, matures_at=matures_at)
    assert not tell(person, 2, matures_at=matures_at).changed
    (firing,) = person.passes(triggers.HOUR).fired
    person.delivered(firing.id)
    person.now_ms += triggers.MINUTE
    assert tell(person, 3, matures_at=matures_at).due_ms is None
    assert person.passes(triggers.MINUTE).fired == ()


def test_a_new_moment_takes_the_place_of_the_old_one(triggers: SimpleNamespace, maturing: Make, customer: Any) -> None:
    person, first = customer(maturing()), triggers.START + 8 * triggers.DAY
    tell(person, 1, matures_at=first)
    assert tell(person, 2, matures_at=first + triggers.DAY).due_ms == triggers.START + 2 * triggers.DAY
    assert person.passes(triggers.DAY).fired == ()
    (firing,) = person.passes(triggers.DAY).fired
    person.delivered(firing.id)
    assert tell(person, 3, matures_at=first + 30 * triggers.DAY).due_ms == triggers.START + 31 * triggers.DAY


def test_what_was_true_earlier_and_arrives_late_arms_nothing(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person, matures_at = customer(maturing()), triggers.START + 20 * triggers.DAY
    tell(person, 1, matures_at=matures_at)
    late = triggers.START - triggers.DAY
    assert not tell(person, 2, now=matures_at, at_ms=late, matures_at=matures_at - 10 * triggers.DAY).changed
    assert person.last.due_ms == matures_at - 7 * triggers.DAY


def test_after_the_memory_lapsed_a_late_telling_finds_the_newest_value_in_the_state(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person, matures_at = customer(maturing()), triggers.START + 7 * triggers.DAY
    tell(person, 1, matures_at=matures_at)
    person.delivered(person.passes(0).fired[0].id)
    person.passes(2 * triggers.DAY)
    assert person.memory is None
    assert tell(person, 2, now=matures_at, at_ms=0, matures_at=person.now_ms + 7 * triggers.DAY).value is None


def test_a_moment_whose_time_is_past_and_no_longer_fresh_fires_nothing_but_a_fresh_one_does(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    due = triggers.START + 7 * triggers.DAY
    for late_ms, fires in ((triggers.HOUR, 1), (triggers.HOUR + 1, 0)):
        person = customer(maturing())
        tell(person, 1, matures_at=due - late_ms)
        assert len(person.passes(0).fired) == fires
    person = customer(maturing())
    tell(person, 1, matures_at=due + triggers.DAY)
    assert person.passes(triggers.DAY + triggers.HOUR + 1).fired == ()  # the clock was not looked at in time
    assert person.memory is None


def test_the_guard_is_asked_when_it_is_due(triggers: SimpleNamespace, maturing: Make, customer: Any) -> None:
    for balance, fires in ((100, 1), (99, 0)):
        person = customer(maturing(when="balance >= 100"))
        tell(person, 1, matures_at=triggers.START + 8 * triggers.DAY, balance=0)
        person.attributes = ({}, {**person.attributes[1], "balance": balance})
        assert len(person.passes(triggers.DAY).fired) == fires
        assert tell(person, 2, matures_at=triggers.START + 8 * triggers.DAY, balance=500).due_ms in (None, 0)


def test_within_a_cooldown_a_second_moment_fires_nothing(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person = customer(maturing(cooldown_ms=5 * triggers.DAY))
    tell(person, 1, matures_at=triggers.START + 7 * triggers.DAY)
    person.delivered(person.passes(0).fired[0].id)
    tell(person, 2, matures_at=triggers.START + 8 * triggers.DAY)
    assert person.passes(triggers.DAY).fired == ()
    tell(person, 3, matures_at=triggers.START + 13 * triggers.DAY)
    assert len(person.passes(5 * triggers.DAY).fired) == 1


def test_a_moment_that_is_past_when_it_is_told_does_not_count_for_the_cooldown(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person = customer(maturing(cooldown_ms=5 * triggers.DAY))
    tell(person, 1, matures_at=triggers.START + 5 * triggers.DAY)
    assert (person.passes(0).fired, person.memory) == ((), None)
    tell(person, 2, matures_at=triggers.START + 7 * triggers.DAY)
    assert len(person.passes(0).fired) == 1


def test_waves_follow_and_what_cancels_ends_them(triggers: SimpleNamespace, maturing: Make, customer: Any) -> None:
    declared = maturing(waves=(triggers.wave(2 * triggers.DAY),), cancelled_by=(OPENED,))
    person = customer(declared)
    tell(person, 1, matures_at=triggers.START + 7 * triggers.DAY)
    person.delivered(person.passes(0).fired[0].id)
    assert [firing.wave for firing in person.passes(2 * triggers.DAY).fired] == [1]
    person = customer(declared)
    tell(person, 1, matures_at=triggers.START + 7 * triggers.DAY)
    (firing,) = person.passes(0).fired
    person.delivered(firing.id)
    assert [each.firing_id for each in person.happens(OPENED.source).overtaken] == [firing.id]
    assert person.passes(2 * triggers.DAY).fired == ()


def test_a_state_that_says_otherwise_when_it_is_due_is_believed(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person = customer(maturing())
    tell(person, 1, matures_at=triggers.START + 8 * triggers.DAY)
    person.attributes = ({}, {"matures_at": triggers.START + 20 * triggers.DAY})
    assert person.passes(triggers.DAY).fired == ()
    assert person.last.due_ms == triggers.START + 13 * triggers.DAY
    person.attributes = ({}, {})
    assert person.passes(12 * triggers.DAY).fired == ()
    assert person.memory is None


def test_erasure_and_what_is_no_moment_leave_nothing_to_wait_for(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person = customer(maturing())
    tell(person, 1, matures_at=triggers.START + 20 * triggers.DAY)
    assert person.happens("bank.customer.erased").value is None
    assert tell(person, 2, matures_at=LAST_MOMENT_MS + 1).value is None
    assert not person.triggers.interested(Update(3, TOLD, triggers.START, {}, {"balance": 5}))
    assert not person.triggers.interested(Update(4, "bank.channel.login", triggers.START, {}, {"matures_at": 5}))


def test_a_moment_waited_for_takes_little_room_and_survives_its_bytes(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person, matures_at = customer(maturing()), triggers.START + 300 * triggers.DAY
    tell(person, 1, matures_at=matures_at)
    assert len(person.memory) <= 26
    ((_, told),) = decode_memory(person.memory).moments.items()
    assert (told.value_ms, told.waiting) == (matures_at, True)
    assert planned_ms(person.triggers, "retail:1787", person.memory) == matures_at - 7 * triggers.DAY


def test_a_moment_of_another_lead_is_not_taken_for_this_ones(
    triggers: SimpleNamespace, maturing: Make, customer: Any
) -> None:
    person = customer(maturing())
    tell(person, 1, matures_at=triggers.START + 8 * triggers.DAY)
    person.triggers = triggers.compiled(maturing(0), matures_at=AttributeType.TIMESTAMP)
    assert person.passes(triggers.DAY).fired == ()
    assert person.memory is None
