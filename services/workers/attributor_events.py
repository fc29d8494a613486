"""Attributed conversions as events for the bus. The same conversion and revision give the same bytes every time."""

from decision_engine.attribution import WHOLE, Attributed, Credit
from decision_engine.attribution_rules import CompiledAttribution
from event_schemas.codec import encode_trusted
from event_schemas.topics import CONVERSIONS
from services.ports import OutgoingEvent
from services.use_cases.wire_time import rfc3339

EVENT_TYPE = "nbo.conversion.attributed"
SOURCE = "kairos/attributor"


class ConversionEvents:
    """Words attributions of one strategy."""

    def __init__(self, attribution: CompiledAttribution, strategy_version: str, currency: str) -> None:
        self._attribution = attribution
        self._version = strategy_version
        self._currency = currency

    def event(self, customer_id: str, found: Attributed) -> OutgoingEvent:
        """The event of one conversion, keyed by the customer."""
        conversion, time = found.conversion, rfc3339(found.conversion.at_ms)
        cause = {
            "type": conversion.cause_type,
            "id": conversion.cause_id[:512],
            "outcome": conversion.outcome,
            "tracking_id": conversion.tracking_id,
        }
        data: dict[str, object] = {
            "conversion_id": conversion.id,
            "revision": found.revision,
            "customer_id": customer_id,
            "time": time,
            "cause": {name: value for name, value in cause.items() if value is not None},
            "counted": found.superseded_by is None,
            "shared_model": self._attribution.terms.shared,
            "currency": self._currency,
            "strategy_version": self._version,
            "credits": [self._credit(credit, conversion.value) for credit in found.credits],
        }
        if found.superseded_by is not None:
            data["superseded_by"] = found.superseded_by
        identity = f"{conversion.id}.{found.revision}"
        header = {"id": identity, "source": SOURCE, "subject": customer_id, "time": time}
        return OutgoingEvent(topic=CONVERSIONS, key=customer_id, value=encode_trusted(EVENT_TYPE, header, data))

    def _credit(self, credit: Credit, value: int | None) -> dict[str, object]:
        touch = credit.touch
        group, issue = self._attribution.place_of(touch.offer)
        fields: dict[str, object] = {
            "tracking_id": touch.tracking_id,
            "decision_id": touch.decision_id,
            "offer": touch.offer,
            "group": group,
            "issue": issue,
            "treatment": touch.treatment,
            "channel": touch.channel,
            "placement": touch.placement,
            "arm": touch.arm,
            "experiments": touch.experiments,
            "touch": credit.kind,
            "touched_at": rfc3339(credit.at_ms),
            "last_touch": credit.last_touch / WHOLE,
            "shared": credit.shared / WHOLE,
            "value": self._attribution.value_of(touch.offer) if value is None else value,
        }
        return {name: entry for name, entry in fields.items() if entry is not None}
