"""From records of the bus to facts about customers: decisions, responses, conversions, erasures."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from decision_engine.attribution_memory import (
    Answered,
    Converted,
    Decided,
    DecidedOption,
    Erased,
    Fact,
    moment_of,
)
from decision_engine.attribution_rules import RESPONSE, CompiledAttribution, Happening
from decision_engine.features.updates import update_from_event
from decision_engine.identifiers import CustomerId
from decision_engine.outcomes import Outcome
from event_schemas.codec import DecodeError, decode
from event_schemas.profile import CustomerErased
from event_schemas.responses import ResponseRecorded
from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES, topic_for
from services.ports import Clock, Delivery
from services.use_cases.event_batches import FROM_THE_FUTURE, latest_ms
from services.use_cases.response_scope import scoped_response_id
from services.use_cases.wire_time import epoch_ms

_ERASED = "bank.customer.erased"


class FactUnreadable(ValueError):
    """A record that says nothing attribution can use, though it should."""


@dataclass(frozen=True, slots=True)
class PositionedFact:
    """A fact and where it stood in the log."""

    topic: str
    offset: int
    fact: Fact


class FactReader:
    """Reads what the attribution of one strategy wants to know, and passes over everything else. With a `wall_clock`
    events from the future are refused: a wrong year would make everything known look long past."""

    def __init__(self, attribution: CompiledAttribution, wall_clock: Clock | None = None) -> None:
        self._attribution = attribution
        self._wall_clock = wall_clock
        self._wanted = tuple(name.encode() for name in (*attribution.event_types, _ERASED))

    def topics(self) -> list[str]:
        """What has to be read."""
        events = {topic_for(name) for name in self._attribution.event_types}
        return sorted(events | {DECISIONS, RESPONSES, PROFILE_UPDATES})

    def read(self, delivery: Delivery) -> tuple[CustomerId, PositionedFact] | None:
        """The customer and the fact; None for what does not matter. Raises FactUnreadable."""
        if delivery.value is None:
            return None
        found = _decided(delivery.value) if delivery.topic == DECISIONS else self._of_event(delivery)
        if found is None:
            return None
        customer_id, fact = found
        if delivery.key != customer_id.encode():
            # Of another partition: its offset would hide everything that the customer's own partition brings.
            raise FactUnreadable("the record's key is not the customer")
        if self._wall_clock is not None and moment_of(fact) > latest_ms(delivery, self._wall_clock.now_ms()):
            raise FactUnreadable(FROM_THE_FUTURE)
        return CustomerId(customer_id), PositionedFact(delivery.topic, delivery.offset, fact)

    def _of_event(self, delivery: Delivery) -> tuple[str, Fact] | None:
        value = delivery.value or b""
        if delivery.topic != RESPONSES and not delivery.headers and not any(name in value for name in self._wanted):
            return None  # most events are no conversions; looking for a name is cheaper than reading them
        try:
            event = decode(value, delivery.headers)
        except DecodeError as error:
            raise FactUnreadable(str(error)) from error
        if topic_for(event.type) != delivery.topic:
            raise FactUnreadable(f"type: {event.type} does not travel on this topic")
        if isinstance(event, ResponseRecorded):
            return event.subject, self._answered(event)
        if isinstance(event, CustomerErased):
            return event.subject, Erased(at_ms=event.time_ms)
        if event.type not in self._attribution.event_types:
            return None
        update = update_from_event(event)
        happening = Happening(
            customer_id=event.subject,
            type=event.type,
            cause_id=f"{event.source}/{event.id}",
            at_ms=event.time_ms,
            fields=update.fields,
        )
        conversion = self._attribution.of_event(happening)
        return None if conversion is None else (event.subject, Converted(conversion=conversion))

    def _answered(self, event: ResponseRecorded) -> Answered:
        data, outcome = event.data, Outcome(event.data.outcome)
        happening = Happening(
            customer_id=event.subject,
            type=RESPONSE,
            cause_id=scoped_response_id(event.source, data.response_id),
            at_ms=event.time_ms,
            fields=data.detail,
        )
        return Answered(
            option=DecidedOption(
                tracking_id=data.tracking_id, offer=data.offer, treatment=data.treatment, placement=data.placement
            ),
            channel=data.channel,
            outcome=outcome,
            at_ms=event.time_ms,
            conversion=self._attribution.of_response(happening, outcome, data.offer, data.tracking_id),
        )


def _decided(value: bytes) -> tuple[str, Fact]:
    """A decision record has tens of kilobytes, of which a few fields matter; being our own, it is not checked whole."""
    try:
        data = orjson.loads(value)["data"]
        options = tuple(
            DecidedOption(
                tracking_id=str(option["tracking_id"]),
                offer=str(option["offer"]),
                treatment=str(option["treatment"]),
                placement=str(placement["id"]),
            )
            for placement in data["placements"]
            for option in placement.get("options", ())
        )
        return str(data["customer_id"]), Decided(
            decision_id=str(data["decision_id"]),
            at_ms=epoch_ms(data["time"]),
            channel=str(data["channel"]),
            arm=str(data["arm"]),
            experiments=_texts(data.get("experiments") or {}),
            options=options,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FactUnreadable(f"no decision record: {type(error).__name__}") from error


def _texts(mapping: Mapping[object, object]) -> dict[str, str]:
    return {str(name): str(value) for name, value in mapping.items()}
