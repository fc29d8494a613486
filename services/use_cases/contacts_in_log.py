"""What the log of decisions and responses says about contacts, as the records the ledger would hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from decision_engine.contact_ledger import ContactRecord, contact_flags
from decision_engine.engine import LEDGER_UNAVAILABLE
from decision_engine.identifiers import CustomerId, TrackingId, key32
from decision_engine.ledger_steps import answered
from decision_engine.outcomes import ContactStatus, Outcome, status_of
from decision_engine.reservation import tracking_key
from decision_engine.strategy import Strategy
from event_schemas.codec import DecodeError, decode
from event_schemas.decisions import DecisionMade, OptionRecord
from event_schemas.envelope import epoch_ms
from event_schemas.profile import CustomerErased
from event_schemas.responses import Response, ResponseRecorded
from services.ports import Delivery
from services.use_cases.response_scope import scoped_response_id

_RESERVED = int(ContactStatus.RESERVED)


@dataclass(slots=True)
class LoggedContacts:
    """One customer's part of some events: contacts, the ids of the responses among them, and an erasure's time."""

    records: list[ContactRecord] = field(default_factory=list)
    response_ids: list[str] = field(default_factory=list)
    erased_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactsInLog:
    """Reads deliveries. `scopes` gives each offer's group and issue, `outbound` the channels in which the bank comes to
    the customer."""

    scopes: Mapping[str, tuple[str, str]]
    outbound: frozenset[str]

    @classmethod
    def of(cls, strategy: Strategy) -> "ContactsInLog":
        """With what the strategy knows of its offers and channels."""
        return cls(
            scopes={offer.name: (offer.group, offer.issue) for offer in strategy.offers},
            outbound=frozenset(strategy.outbound_channels),
        )

    def read(self, deliveries: Sequence[Delivery]) -> tuple[dict[CustomerId, LoggedContacts], int]:
        """By customer what the events say, and how many events could not be read."""
        found: dict[CustomerId, LoggedContacts] = {}
        unreadable = 0
        for delivery in deliveries:
            try:
                event = decode(delivery.value or b"", delivery.headers)
            except DecodeError:
                unreadable += 1
                continue
            if not isinstance(event, DecisionMade | ResponseRecorded | CustomerErased):
                continue
            logged = found.setdefault(CustomerId(event.subject), LoggedContacts())
            match event:
                case DecisionMade():
                    logged.records += self._reservations(event)
                case ResponseRecorded():
                    logged.records.append(self._answer(event.data))
                    logged.response_ids.append(scoped_response_id(event.source, event.data.response_id))
                case CustomerErased():
                    logged.erased_ms = max(logged.erased_ms, epoch_ms(event.time))
        return found, unreadable

    def _reservations(self, event: DecisionMade) -> Iterator[ContactRecord]:
        """The options as they were reserved. Nothing was where the ledger was out of reach; and of an offer that the
        strategy no longer has, the answered contacts are known by their responses."""
        data = event.data
        if LEDGER_UNAVAILABLE in data.degraded_causes:
            return
        for placement in data.placements:
            for option in placement.options:
                scope = self.scopes.get(option.offer)
                if scope is not None:
                    yield self._reservation(option, scope, data.channel, epoch_ms(data.time))

    def _reservation(self, option: OptionRecord, scope: tuple[str, str], channel: str, at_ms: int) -> ContactRecord:
        group, issue = scope
        expires_ms = at_ms if option.expires_at is None else epoch_ms(option.expires_at)
        return ContactRecord(
            tracking=tracking_key(TrackingId(option.tracking_id)),
            offer=key32(option.offer),
            group=key32(group),
            issue=key32(issue),
            channel=key32(channel),
            status=_RESERVED,
            flags=contact_flags(mandatory=option.mandatory, outbound=channel in self.outbound),
            reserved_ms=float(at_ms),
            expires_ms=float(expires_ms),
            contact_ms=float(at_ms),
            outcome_ms=0.0,
        )

    def _answer(self, data: Response) -> ContactRecord:
        """The contact a response alone tells of."""
        at_ms = float(epoch_ms(data.time))
        alone = ContactRecord(
            tracking=tracking_key(TrackingId(data.tracking_id)),
            offer=key32(data.offer),
            group=key32(data.group),
            issue=key32(data.issue),
            channel=key32(data.channel),
            status=_RESERVED,
            flags=contact_flags(mandatory=False, outbound=data.channel in self.outbound),
            reserved_ms=at_ms,
            expires_ms=at_ms,
            contact_ms=at_ms,
            outcome_ms=0.0,
        )
        return answered(alone, int(status_of(Outcome(data.outcome))), at_ms)
