"""The 360 view: everything known of a customer now, and every contact with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from decision_engine.contact_ledger import LOST_FLAG, ContactRecord, decode_records
from decision_engine.customer import CustomerSnapshot
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.freshness import Freshness, freshness
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.state import state_version
from decision_engine.identifiers import CustomerId, key32
from decision_engine.outcomes import ContactStatus, Outcome, status_of
from decision_engine.strategy import Strategy
from decision_engine.tags import TagClass, TagReader
from services.ports import Clock, DecisionStore
from services.use_cases.linked_customers import with_linked
from services.use_cases.make_decision import Live
from services.use_cases.wire_time import rfc3339

_OUTCOMES = tuple((outcome, status_of(outcome)) for outcome in Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeView:
    """One attribute with its value now; timestamps are RFC 3339 text."""

    name: str
    value: Value
    description: Mapping[str, str]
    type: str
    source: str
    sensitive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelView:
    """A segment or a tag the customer has."""

    name: str
    title: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactView:
    """One contact; names are None when the strategy no longer has them. Times are RFC 3339 or None."""

    offer: str | None
    title: Mapping[str, str]
    group: str | None
    issue: str | None
    channel: str | None
    status: str
    """`reserved`, `lapsed`, or `contacted`."""
    outcomes: tuple[str, ...]
    reserved_at: str | None
    contacted_at: str | None
    responded_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerView:
    """A customer as of `time`. Attributes are grouped by theme; contacts are newest first."""

    customer_id: str
    time: str
    known: bool
    newest_event_at: str | None
    feature_age_ms: int | None
    bank_event_at: str | None
    """When the newest event of the bank's own systems was, or began to be: exact, unless `bank_event_within` names the
    unit (`h`, `d`) in which it was."""
    bank_event_within: str | None
    bank_event_age_ms: int | None
    """How old it is, at the most."""
    response_age_ms: int | None
    """How old the newest response is that the state knows of, at the most."""
    state_writes: int
    """How often the state was written: it rises with every batch that brought something."""
    strategy_version: str
    segments: tuple[LabelView, ...]
    tags: Mapping[str, tuple[LabelView, ...]]
    """By class; every class is there."""
    attributes: Mapping[str, tuple[AttributeView, ...]]
    holdings: tuple[str, ...]
    consents: Mapping[str, bool]
    """As they count now: recorded, or the strategy's default for a known customer."""
    contacts: tuple[ContactView, ...]
    responses: tuple[ContactView, ...]
    """The contacts with an outcome, the latest outcome first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewCustomer:
    """Reads one customer."""

    live: Callable[[], Live]
    store: DecisionStore
    clock: Clock

    async def __call__(self, customer_id: CustomerId) -> CustomerView:
        """The view; an unknown customer has an empty one. Raises StoreUnavailable."""
        live = self.live()
        reading = await (live.states or self.store).read_for_decision(customer_id, None)
        now_ms = self.clock.now_ms()
        snapshot = read_snapshot(live.features, reading.state, now_ms)
        snapshot = await with_linked(live, live.states or self.store, customer_id, snapshot, now_ms)
        strategy = live.prepared.strategy
        records = [record for record in decode_records(reading.ledger) if not record.flags & LOST_FLAG]
        names = _Names.of(strategy)
        newest = snapshot.newest_event_ms
        contacts = sorted(records, key=_last_moment, reverse=True)
        responded = sorted((r for r in records if r.outcome_ms), key=lambda r: r.outcome_ms, reverse=True)
        return CustomerView(
            customer_id=customer_id,
            time=rfc3339(now_ms),
            known=snapshot.known,
            newest_event_at=None if newest is None else rfc3339(newest),
            feature_age_ms=None if newest is None else max(0, now_ms - newest),
            **_ages(freshness(live.features, reading.state), now_ms),
            state_writes=0 if reading.state is None else state_version(reading.state),
            strategy_version=strategy.version,
            segments=_segments(strategy, snapshot),
            tags=_tags(live.tags, snapshot, now_ms),
            attributes=_by_theme(strategy, snapshot),
            holdings=tuple(sorted(snapshot.holdings)),
            consents=_consents(strategy, snapshot),
            contacts=tuple(names.contact(record, now_ms) for record in contacts),
            responses=tuple(names.contact(record, now_ms) for record in responded),
        )


class _Ages(TypedDict):
    bank_event_at: str | None
    bank_event_within: str | None
    bank_event_age_ms: int | None
    response_age_ms: int | None


def _ages(fresh: Freshness, now_ms: int) -> _Ages:
    bank, responses = fresh.bank, fresh.responses
    return {
        "bank_event_at": None if bank is None else rfc3339(bank.at_ms),
        "bank_event_within": None if bank is None else bank.within,
        "bank_event_age_ms": None if bank is None else max(0, now_ms - bank.at_ms),
        "response_age_ms": None if responses is None else max(0, now_ms - responses.at_ms),
    }


def contact_views(strategy: Strategy | None, records: Sequence[ContactRecord], now_ms: int) -> tuple[ContactView, ...]:
    """Contacts as they stood at a moment, newest first, in the words of a strategy; None knows no words."""
    names = _Names({}, {}) if strategy is None else _Names.of(strategy)
    return tuple(names.contact(record, now_ms) for record in sorted(records, key=_last_moment, reverse=True))


def _segments(strategy: Strategy, snapshot: CustomerSnapshot) -> tuple[LabelView, ...]:
    return tuple(
        LabelView(name=segment.name, title=segment.title)
        for segment in strategy.segments
        if snapshot.attributes.get(segment.attribute) is True
    )


def _tags(reader: TagReader, snapshot: CustomerSnapshot, now_ms: int) -> dict[str, tuple[LabelView, ...]]:
    carried: dict[str, list[LabelView]] = {tag_class.value: [] for tag_class in TagClass}
    for tag in reader.read(snapshot, now_ms):
        carried[tag.tag_class].append(LabelView(name=tag.name, title=tag.title))
    return {tag_class: tuple(tags) for tag_class, tags in carried.items()}


def _by_theme(strategy: Strategy, snapshot: CustomerSnapshot) -> dict[str, tuple[AttributeView, ...]]:
    themes: dict[str, list[AttributeView]] = {}
    for name, info in strategy.dictionary.items():
        value = snapshot.attributes.get(name)
        if value is not None:
            shown = rfc3339(int(value)) if info.type is AttributeType.TIMESTAMP else value
            themes.setdefault(info.theme, []).append(
                AttributeView(
                    name=name,
                    value=shown,
                    description=info.description,
                    type=info.type,
                    source=info.source,
                    sensitive=info.sensitive,
                )
            )
    return {theme: tuple(attributes) for theme, attributes in themes.items()}


def _consents(strategy: Strategy, snapshot: CustomerSnapshot) -> dict[str, bool]:
    defaults = {name: snapshot.known and purpose.granted_by_default for name, purpose in strategy.consents.items()}
    return {**defaults, **snapshot.consents}


def _last_moment(record: ContactRecord) -> float:
    return max(record.reserved_ms, record.contact_ms, record.outcome_ms)


@dataclass(frozen=True, slots=True)
class _Names:
    """The names behind the ledger's 32-bit keys."""

    names: Mapping[int, str]
    titles: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, strategy: Strategy) -> "_Names":
        """Every offer, group, issue and channel of the strategy."""
        words = {word for offer in strategy.offers for word in (offer.name, offer.group, offer.issue)}
        words |= {placement.channel for placement in strategy.placements.values()}
        return cls({key32(word): word for word in words}, {offer.name: offer.title for offer in strategy.offers})

    def contact(self, record: ContactRecord, now_ms: int) -> ContactView:
        """One record in words."""
        offer = self.names.get(record.offer)
        return ContactView(
            offer=offer,
            title=self.titles.get(offer or "", {}),
            group=self.names.get(record.group),
            issue=self.names.get(record.issue),
            channel=self.names.get(record.channel),
            status=_status(record, now_ms),
            outcomes=tuple(outcome.value for outcome, bit in _OUTCOMES if record.status & bit),
            reserved_at=_moment(record.reserved_ms),
            contacted_at=_moment(record.contact_ms) if record.status & ContactStatus.ANY_RESPONSE else None,
            responded_at=_moment(record.outcome_ms),
        )


def _status(record: ContactRecord, now_ms: int) -> str:
    if record.status & ContactStatus.ANY_RESPONSE:
        return "contacted"
    return "reserved" if record.expires_ms > now_ms else "lapsed"


def _moment(epoch_ms: float) -> str | None:
    return rfc3339(int(epoch_ms)) if epoch_ms else None
