"""The contact ledger's records and the one primitive that caps and suppressions are made of.

The same test runs here (to explain) and inside the store (to reserve): a rule refuses when `limit`
or more records match its scope, its statuses and its time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from decision_engine.outcomes import ContactStatus

RECORD = Struct("<8sIIIIHBBIdddd")
"""64 bytes, little-endian: tracking key, offer, group, issue, channel (32-bit keys), status bits, flags,
padding, padding, then epoch milliseconds as doubles: reserved, expires, contact, outcome (0 = never)."""
MANDATORY_FLAG = 1


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


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """One contact with one person: what was reserved or shown, and everything that came of it."""

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


@dataclass(frozen=True, slots=True)
class ContactRule:
    """A cap, cool-down or suppression, made concrete for one candidate at one moment.

    `statuses` with RESERVED also counts reservations that have not lapsed. A record matches when its
    scope key equals `key`, any of the statuses holds, and its time by `clock` is `since_ms` or later.
    """

    id: str
    scope: Scope
    key: int
    statuses: int
    clock: ContactClock
    since_ms: float
    limit: int
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """An option the ledger may reserve, with the rules that could refuse it."""

    tracking: bytes
    offer: int
    group: int
    issue: int
    channel: int
    mandatory: bool
    rules: tuple[ContactRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRequest:
    """For each position the alternatives in order of preference; one offer is reserved at most once a request
    unless `allow_duplicates`. `now_ms` and `lapses_ms` are epoch milliseconds."""

    now_ms: int
    lapses_ms: int
    positions: tuple[tuple[Alternative, ...], ...]
    allow_duplicates: bool = False


def decode_records(blob: bytes | None) -> tuple[ContactRecord, ...]:
    """The records of one customer, oldest first; a missing ledger is an empty one."""
    if not blob:
        return ()
    return tuple(
        ContactRecord(t, o, g, i, c, s, f, r, e, k, u)
        for t, o, g, i, c, s, f, _, _, r, e, k, u in RECORD.iter_unpack(blob)
    )


def encode_records(records: Iterable[ContactRecord]) -> bytes:
    """The stored form of the records."""
    return b"".join(
        RECORD.pack(r.tracking, r.offer, r.group, r.issue, r.channel, r.status, r.flags, 0, 0,
                    r.reserved_ms, r.expires_ms, r.contact_ms, r.outcome_ms)
        for r in records
    )  # fmt: skip


def first_refusal(rules: Sequence[ContactRule], records: Sequence[ContactRecord], now_ms: float) -> ContactRule | None:
    """The first rule that refuses a contact now, or None."""
    for rule in rules:
        if sum(_matches(rule, record, now_ms) for record in records) >= rule.limit:
            return rule
    return None


def _matches(rule: ContactRule, record: ContactRecord, now_ms: float) -> bool:
    if rule.scope is not Scope.ALL and record.key(rule.scope) != rule.key:
        return False
    if record.status == ContactStatus.RESERVED:
        counted = bool(rule.statuses & ContactStatus.RESERVED) and record.expires_ms > now_ms
    else:
        counted = bool(record.status & rule.statuses & ContactStatus.ANY_RESPONSE)
    when = record.contact_ms if rule.clock is ContactClock.CONTACT else record.outcome_ms
    return counted and when >= rule.since_ms
