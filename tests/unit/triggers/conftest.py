"""Builders for the tests of triggers: declared in a line, fed with events in a line."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.definitions import AttributeInfo, AttributeType, Value
from decision_engine.features.update import Update
from decision_engine.triggers.compiled import CompiledTriggers, compile_triggers
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Trigger, Wave
from decision_engine.triggers.firing import Advanced, Contacted
from decision_engine.triggers.matching import Step, conclude, match, note_intent, wake

START = 1_790_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CUSTOMER = "retail:1787"
OPENED, SUBMITTED, POSTED = "bank.channel.form_opened", "bank.channel.form_submitted", "bank.transaction.posted"
CONTACT = Contact(placement="inbox_lead", channel="manager")


def make_pattern(shape: Shape, *sources: str, where: str | None = None, **more: Any) -> Pattern:
    return Pattern(shape=shape, steps=tuple(EventPattern(source=source, where=where) for source in sources), **more)


def make_trigger(name: str = "inflow", pattern: Pattern | None = None, **more: Any) -> Trigger:
    single = make_pattern(Shape.EVENT, POSTED)
    return Trigger(name=name, title={"en": name}, pattern=pattern or single, contact=CONTACT, **more)


def make_abandoned(**more: Any) -> Trigger:
    """A form that is not submitted within half an hour."""
    pattern = make_pattern(Shape.ABSENCE, OPENED, SUBMITTED, within_ms=30 * MINUTE, same="form_id")
    return make_trigger("abandoned", pattern, **({"cancelled_by": (EventPattern(source=SUBMITTED),)} | more))


def make_wave(after_ms: int) -> Wave:
    return Wave(after_ms=after_ms, contact=Contact(placement="message", channel="sms"))


def compiled(*triggers: Trigger, **attributes: AttributeType) -> CompiledTriggers:
    dictionary = {
        name: AttributeInfo(
            name=name, type=kind, theme="basic", description={}, source="profile", default=None, definition=name
        )
        for name, kind in attributes.items()
    }
    return compile_triggers(SimpleNamespace(triggers=triggers, dictionary=dictionary, offers=()))  # type: ignore[arg-type]


class Customer:
    """One customer's memory as events, moments and deliveries come; the last result stays for a look."""

    def __init__(self, triggers: CompiledTriggers) -> None:
        self.triggers, self.memory, self.now_ms = triggers, None, START
        self.attributes: tuple[Mapping[str, Value], Mapping[str, Value]] = ({}, {})
        self.last: Advanced | None = None
        self._keys = 0

    def happens(self, source: str, at_ms: int | None = None, key: int | None = None, **fields: Value) -> Advanced:
        """An event; without a time it happens now, without a key it is a new one."""
        self._keys += 1
        before, after = self.attributes
        update = Update(
            event_key=self._keys if key is None else key,
            source=source,
            time_ms=self.now_ms if at_ms is None else at_ms,
            fields=fields,
        )
        step = Step(
            update=update,
            before=lambda: CustomerSnapshot(known=True, attributes=before),
            after=lambda: CustomerSnapshot(known=True, attributes=after),
        )
        return self._noted(match(self.triggers, CUSTOMER, self.memory, [step], self.now_ms))

    def passes(self, length_ms: int) -> Advanced:
        """Time passes, and the clock is looked at."""
        self.now_ms += length_ms
        snapshot = CustomerSnapshot(known=True, attributes=self.attributes[1])
        return self._noted(wake(self.triggers, CUSTOMER, self.memory, self.now_ms, lambda: snapshot))

    def noted(self, firing_id: str, intent: bytes = b"from 17") -> Advanced:
        return self._noted(note_intent(self.triggers, self.memory, [firing_id], intent))

    def delivered(self, firing_id: str, decision_id: str | None = "D1", *offers: str) -> Advanced:
        concluded = {firing_id: Contacted(decision_id=decision_id, offers=offers or ("fund",))}
        return self._noted(conclude(self.triggers, self.memory, concluded, self.now_ms))

    def _noted(self, advanced: Advanced) -> Advanced:
        self.memory, self.last = advanced.value, advanced
        return advanced


@pytest.fixture
def triggers() -> SimpleNamespace:
    """The builders, as tests of a folder without packages share them."""
    return SimpleNamespace(
        START=START, MINUTE=MINUTE, HOUR=HOUR, DAY=DAY, OPENED=OPENED, SUBMITTED=SUBMITTED, POSTED=POSTED,
        CUSTOMER=CUSTOMER, pattern=make_pattern, trigger=make_trigger, abandoned=make_abandoned, wave=make_wave,
        compiled=compiled, customer=lambda *declared, **attributes: Customer(compiled(*declared, **attributes)),
    )  # fmt: skip
