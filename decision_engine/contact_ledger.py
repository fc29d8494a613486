"""The contact ledger's records and the one primitive that caps and suppressions are made of.

The same test runs here (to explain) and inside the store (to reserve): a rule refuses when `limit`
or more records match its scope, its direction, its statuses and its time, or when its window reaches back to contacts
that a full ledger had to drop, for then nobody can say how many there were.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library's name is lower case
from typing import NamedTuple

from decision_engine.errors import DecisionEngineError
from decision_engine.outcomes import ContactStatus

RECORD = Struct("<8sIIIIHB5xdddd")
"""64 bytes, little-endian: tracking key, offer, group, issue, channel (32-bit keys), status bits, flags,
five bytes of padding, then epoch milliseconds as doubles: reserved, expires, contact, outcome (0 = never)."""
MANDATORY_FLAG = 1
OUTBOUND_FLAG = 2
"""The bank came to the customer; without it the customer came to the bank."""
_RESERVED, _ANY_RESPONSE = int(ContactStatus.RESERVED), int(ContactStatus.ANY_RESPONSE)
"""Plain numbers: with flags every comparison makes one."""
LOST_FLAG = 128
"""Not a contact: the mark of those a full ledger dropped. Its statuses are all of theirs, its times the newest."""


class LedgerUnreadable(DecisionEngineError):
    """The stored value is no list of records."""


class Scope(IntEnum):
    """Which records a rule looks at."""

    ALL = 0
    OFFER = 1
    GROUP = 2
    ISSUE = 3
    CHANNEL = 4


class ContactClock(IntEnum):
    """Which time of a record a rule compares with its start."""

    CONTACT = 0
    OUTCOME = 1


class Direction(IntEnum):
    """Whose contacts a rule counts."""

    ANY = 0
    INBOUND = 1
    OUTBOUND = 2


class ContactRecord(NamedTuple):  # a decision reads dozens of them
    """One contact with one person: what was reserved or shown, and everything that came of it; the fields in the order
    of `RECORD`."""

    tracking: bytes
    offer: int
    group: int
    issue: int
    channel: int
    status: int
    flags: int
    reserved_ms: float
    expires_ms: float
    contact_ms: float
    outcome_ms: float

    def key(self, scope: Scope) -> int:
        """The record's key in a scope (0 for ALL)."""
        return (0, self.offer, self.group, self.issue, self.channel)[scope]


class ContactRule(NamedTuple):
    """A cap, cool-down or suppression, made concrete for one candidate.

    `statuses` with RESERVED also counts reservations that have not lapsed. A record matches when its
    scope key equals `key`, it went in the `direction`, any of the statuses and none of those in `without` holds, and
    its time by `clock` is `since_ms` or later: epoch milliseconds, or below zero so many before the moment of asking.
    """

    id: str
    scope: Scope
    key: int
    statuses: int
    clock: ContactClock
    since_ms: float
    limit: int
    code: str
    without: int = 0
    direction: Direction = Direction.ANY


class Alternative(NamedTuple):
    """An option the ledger may reserve, with the rules that could refuse it."""

    offer: int
    group: int
    issue: int
    channel: int
    mandatory: bool
    rules: tuple[ContactRule, ...]
    outbound: bool = False

    @property
    def flags(self) -> int:
        """What the ledger keeps of it besides its keys."""
        return contact_flags(mandatory=self.mandatory, outbound=self.outbound)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRequest:
    """For each position its tracking key (8 bytes), whatever ends up there, and the alternatives in order of
    preference; one offer is reserved at most once a request unless `allow_duplicates`. `now_ms` and `lapses_ms` are
    epoch milliseconds."""

    now_ms: int
    lapses_ms: int
    trackings: tuple[bytes, ...]
    positions: tuple[tuple[Alternative, ...], ...]
    allow_duplicates: bool = False


def contact_flags(*, mandatory: bool, outbound: bool) -> int:
    """The flags of a contact's record."""
    return (MANDATORY_FLAG if mandatory else 0) | (OUTBOUND_FLAG if outbound else 0)


def decode_records(blob: bytes | None) -> tuple[ContactRecord, ...]:
    """The records of one customer, oldest first; a missing ledger is an empty one. Raises LedgerUnreadable."""
    if not blob:
        return ()
    try:
        return tuple(map(ContactRecord._make, RECORD.iter_unpack(blob)))
    except StructError as cause:
        raise LedgerUnreadable(f"{len(blob)} bytes are no whole number of records") from cause


def encode_records(records: Iterable[ContactRecord]) -> bytes:
    """The stored form of the records."""
    return b"".join(RECORD.pack(*record) for record in records)


def first_refusal(rules: Sequence[ContactRule], records: Sequence[ContactRecord], now_ms: float) -> ContactRule | None:
    """The first rule that refuses a contact now, or None."""
    for rule in rules:
        if any(_reaches_lost(rule, record, now_ms) for record in records):
            return rule
        if sum(_matches(rule, record, now_ms) for record in records) >= rule.limit:
            return rule
    return None


def has_lapsed(record: ContactRecord, now_ms: float) -> bool:
    """Whether it was reserved only, and for no longer than until now."""
    return record.status == _RESERVED and record.expires_ms <= now_ms and not record.flags & LOST_FLAG


def _reaches_lost(rule: ContactRule, record: ContactRecord, now_ms: float) -> bool:
    """Whether the record marks dropped contacts that the rule might have had to count."""
    return bool(record.flags & LOST_FLAG and record.status & rule.statuses) and _is_recent(rule, record, now_ms)


def _matches(rule: ContactRule, record: ContactRecord, now_ms: float) -> bool:
    if record.flags & LOST_FLAG:
        return False
    if rule.scope is not Scope.ALL and record.key(rule.scope) != rule.key:
        return False
    outbound = Direction.OUTBOUND if record.flags & OUTBOUND_FLAG else Direction.INBOUND
    if rule.direction not in (Direction.ANY, outbound):
        return False
    if record.status == _RESERVED:
        counted = bool(rule.statuses & _RESERVED) and record.expires_ms > now_ms
    else:
        counted = bool(record.status & rule.statuses & _ANY_RESPONSE)
    return counted and not record.status & rule.without and _is_recent(rule, record, now_ms)


def _is_recent(rule: ContactRule, record: ContactRecord, now_ms: float) -> bool:
    since_ms = rule.since_ms if rule.since_ms >= 0 else now_ms + rule.since_ms
    return (record.contact_ms if rule.clock is ContactClock.CONTACT else record.outcome_ms) >= since_ms
