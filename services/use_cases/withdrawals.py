"""Withdrawing contacts that are overtaken: the event that tells the channels to leave them."""

from decision_engine.identifiers import CustomerId
from decision_engine.triggers.compiled import CompiledTriggers
from decision_engine.triggers.firing import Overtaken
from services.ports import OutgoingEvent
from services.use_cases.firing_cases import contact_of
from services.use_cases.outbound_events import cancelled_event


def withdrawal(triggers: CompiledTriggers, customer_id: CustomerId, overtaken: Overtaken, now_ms: int) -> OutgoingEvent:
    """The withdrawal, for the channel in which the contact went out where its trigger is still declared."""
    trigger = triggers.trigger(overtaken.trigger)
    channel = None if trigger is None else contact_of(trigger, overtaken.wave).channel
    return cancelled_event(customer_id, overtaken, channel, now_ms)
