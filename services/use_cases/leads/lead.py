"""A lead: a triggered decision for the bank's own people to follow up, as it stands on the outbound topic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from decision_engine.features.definitions import Value
from decision_engine.strategy import Strategy
from services.use_cases.outbound_messages import OutboundMessage
from services.use_cases.wire_time import epoch_ms

CHANNEL = "manager"
"""The channel whose leads the inbox shows."""
ARRIVAL = "bank.channel.branch_arrival"
"""The event that says that the customer is in a branch now."""
CALL = "bank.channel.call_started"
"""The event that says that the customer is on the telephone now."""
APPOINTMENT = "appointment"
"""The `purpose` of an arrival that was arranged."""
GRADES = ("A", "B", "C", "D")
_UNGRADED = len(GRADES)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadOption:
    """One of the offers to make, in the words of the message."""

    tracking_id: str
    offer: str
    treatment: str
    content: Mapping[str, str]
    script: str | None
    reasons: tuple[tuple[str, str], ...]
    """Codes and texts."""
    disclosure: str = ""
    """What the law has whoever makes the offer say; empty for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """`id` is the outbound id, the same wherever the lead is seen. Times are epoch milliseconds. `event` are the facts
    of the event behind the trigger; `recipient` None is for whoever serves the channel."""

    id: str
    decision_id: str
    customer_id: str
    trigger: str
    title: str
    locale: str
    grade: str | None
    recipient: str | None
    urgent: bool
    wave: int
    at_ms: int
    expires_ms: int | None
    event: Mapping[str, Value]
    options: tuple[LeadOption, ...]

    def is_for(self, recipient: str) -> bool:
        """Whether it is for this one of the bank's people, or for nobody in particular."""
        return self.recipient in (None, recipient)

    def is_expired(self, now_ms: int) -> bool:
        """Whether there is nothing to follow up any more."""
        return self.expires_ms is not None and self.expires_ms <= now_ms

    @property
    def rank(self) -> tuple[int, int, int]:
        """Its place in the inbox: what is urgent first, then by grade, then the newest."""
        grade = GRADES.index(self.grade) if self.grade in GRADES else _UNGRADED
        return (0 if self.urgent else 1, grade, -self.at_ms)


def read_lead(message: OutboundMessage) -> Lead | None:
    """The lead of a message in the inbox's channel; None for other channels and for notices.

    Raises ValueError, KeyError or TypeError for data no release of ours has published."""
    if message.is_cancelled_notice or message.channel != CHANNEL:
        return None
    return lead_of(orjson.loads(message.data))


def lead_of(data: Mapping[str, Any]) -> Lead:
    """The lead of a message's data, as screens get them. Raises KeyError, ValueError or TypeError."""
    expires, recipient = data.get("expires_at"), data.get("recipient")
    return Lead(
        id=str(data["outbound_id"]),
        decision_id=str(data["decision_id"]),
        customer_id=str(data["customer_id"]),
        trigger=str(data["trigger"]),
        title=str(data.get("title") or data["trigger"]),
        locale=str(data["locale"]),
        grade=data.get("grade"),
        recipient=None if recipient is None else str(recipient),
        urgent=data.get("urgent") is True,
        wave=int(data.get("wave", 0)),
        at_ms=epoch_ms(data["time"]),
        expires_ms=None if expires is None else epoch_ms(expires),
        event=data.get("event") or {},
        options=_options(data["options"]),
    )


def arrival_triggers(strategy: Strategy) -> frozenset[str]:
    """The triggers that say that a customer has come in."""
    return frozenset(
        trigger.name for trigger in strategy.triggers if any(step.source == ARRIVAL for step in trigger.pattern.steps)
    )


def call_triggers(strategy: Strategy) -> frozenset[str]:
    """The triggers that say that a customer calls."""
    return frozenset(
        trigger.name for trigger in strategy.triggers if any(step.source == CALL for step in trigger.pattern.steps)
    )


def _options(found: Sequence[Mapping[str, Any]]) -> tuple[LeadOption, ...]:
    return tuple(
        LeadOption(
            tracking_id=str(option["tracking_id"]),
            offer=str(option["offer"]),
            treatment=str(option["treatment"]),
            content=option.get("content") or {},
            script=option.get("script"),
            disclosure=str(option.get("disclosure") or ""),
            reasons=tuple((str(reason["code"]), str(reason["text"])) for reason in option.get("reasons", ())),
        )
        for option in found
    )
