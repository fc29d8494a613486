"""The recorded responses of a partition: who did what with which place, and from when that is known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, cast

from decision_engine.identifiers import TrackingId, key32
from decision_engine.outcomes import Outcome
from decision_engine.reservation import tracking_key
from event_schemas.codec import DecodeError
from event_schemas.envelope import epoch_ms
from event_schemas.plain import PlainEvent, decode_plain
from models.decision_log.examples import AttributionRule, LoggedResponse, accepted_within
from services.simulation.recorded_day.sorted_archive import ArchivedRow


class RecordedAnswer(NamedTuple):
    """A response: the customer, to which place of which decision, what was done with what, and where."""

    customer: str
    tracking_id: str
    tracking: bytes
    outcome: Outcome
    at_ms: int
    offer: str
    offer_key: int
    channel: str
    decision_id: str
    response_id: str


@dataclass(slots=True)
class RecordedAnswers:
    """All responses of a partition. `of` has those of the day by customer, oldest first."""

    every: list[RecordedAnswer] = field(default_factory=list)
    of: dict[str, list[RecordedAnswer]] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    """The places that had an impression."""
    decoded: dict[bytes, PlainEvent] = field(default_factory=dict)
    """Those of the day as they were read, by their text: customers' states are folded from them too."""

    def accepted(self, rule: AttributionRule) -> Mapping[str, bool]:
        """By tracking id whether it was accepted; places never seen are absent."""
        return accepted_within(
            (
                LoggedResponse(
                    response_id=answer.response_id,
                    tracking_id=answer.tracking_id,
                    decision_id=answer.decision_id,
                    outcome=answer.outcome,
                    at_ms=answer.at_ms,
                )
                for answers in self.of.values()
                for answer in answers
            ),
            rule,
        )


def read_answers(rows: Iterable[ArchivedRow], since_ms: int) -> RecordedAnswers:
    """The readable responses among the rows, a repeated one once; `since_ms` is when the day begins."""
    found = RecordedAnswers()
    known: set[tuple[str, str]] = set()
    for row in rows:
        try:
            event = decode_plain(row.value)
        except DecodeError:
            continue
        answer = _answer(event)
        if (event.source, answer.response_id) in known:
            continue
        known.add((event.source, answer.response_id))
        found.every.append(answer)
        if answer.at_ms >= since_ms:
            found.decoded[row.value] = event
            found.of.setdefault(answer.customer, []).append(answer)
            if answer.outcome is Outcome.IMPRESSION:
                found.seen.add(answer.tracking)
    for mine in found.of.values():
        mine.sort(key=lambda answer: answer.at_ms)
    return found


def _answer(event: PlainEvent) -> RecordedAnswer:
    data = cast("Mapping[str, str]", event.data)
    return RecordedAnswer(
        customer=event.subject,
        tracking_id=data["tracking_id"],
        tracking=tracking_key(TrackingId(data["tracking_id"])),
        outcome=Outcome(data["outcome"]),
        at_ms=epoch_ms(cast("Mapping[str, datetime]", event.data)["time"]),
        offer=data["offer"],
        offer_key=key32(data["offer"]),
        channel=data["channel"],
        decision_id=data["decision_id"],
        response_id=data["response_id"],
    )
