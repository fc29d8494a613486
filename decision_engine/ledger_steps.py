"""What the contact ledger does in one step: reserve, respond, merge, and stay within its bound.

The store runs the same steps atomically on the server; this is their meaning, to which its functions are held. Every
step takes one person's records, oldest reservation first, and gives the new ones.
"""

from collections.abc import Collection, Iterable, Sequence

from decision_engine.contact_ledger import (
    LOST_FLAG,
    Alternative,
    ContactRecord,
    ReservationRequest,
    first_refusal,
    has_lapsed,
)
from decision_engine.outcomes import ContactStatus

Records = tuple[ContactRecord, ...]

MAX_RECORDS = 256
"""The bound on one person's records: 16 KB."""
NEWEST_KEPT = 64
"""So many of the newest are dropped last, answered or not: they are what short windows count."""
RETENTION_MS = 400 * 86_400_000
"""How long a contact counts at the most; no window of a strategy may be longer."""

_RESERVED = int(ContactStatus.RESERVED)
_UNANSWERED = int(ContactStatus.RESERVED | ContactStatus.IMPRESSION)
_ANY_RESPONSE = int(ContactStatus.ANY_RESPONSE)


def pruned(records: Iterable[ContactRecord], now_ms: float, retention_ms: float, bound: int = MAX_RECORDS) -> Records:
    """Without lapsed reservations and contacts older than the retention, and within the bound."""
    oldest = now_ms - retention_ms
    kept = [
        r
        for r in records
        if (r.contact_ms >= oldest or r.reserved_ms >= oldest or r.outcome_ms >= oldest)
        and (r.status != _RESERVED or not has_lapsed(r, now_ms))
    ]
    return bounded(kept, bound)


def bounded(records: Sequence[ContactRecord], bound: int = MAX_RECORDS) -> Records:
    """At most so many records. What is dropped leaves its mark, so that whatever a rule refused before it refuses
    still: a rule whose window and statuses reach the mark refuses, counted or not.

    Dropped first is what nobody answered, the oldest first, for refusals and acceptances count for longest; the
    newest go last.
    """
    if len(records) <= bound:
        return tuple(records)
    marks = [record for record in records if record.flags & LOST_FLAG]
    contacts = [record for record in records if not record.flags & LOST_FLAG]
    newest = len(contacts) - NEWEST_KEPT
    surplus = len(contacts) - (bound - 1)
    dropped = set(sorted(range(len(contacts)), key=lambda at: (at >= newest, _is_answered(contacts[at]), at))[:surplus])
    mark = _mark([*marks, *(contacts[at] for at in sorted(dropped))])
    return (mark, *(record for at, record in enumerate(contacts) if at not in dropped))


def reserved(
    records: Sequence[ContactRecord], request: ReservationRequest, retention_ms: float = RETENTION_MS
) -> tuple[list[int | None], Records]:
    """For each position the index of the first alternative no rule refuses, and the records with those added."""
    held = list(pruned(records, request.now_ms, retention_ms))
    taken: list[int | None] = []
    offered: set[int] = set()
    for tracking, alternatives in zip(request.trackings, request.positions, strict=True):
        choice = _first_allowed(alternatives, request, held, offered)
        taken.append(choice)
        if choice is not None:
            offered.add(alternatives[choice].offer)
            held.append(reservation(tracking, alternatives[choice], request))
    if not offered:
        return taken, tuple(records)
    return taken, bounded(held)


def reservation(tracking: bytes, alternative: Alternative, request: ReservationRequest) -> ContactRecord:
    """The record of an alternative that was taken for the position of that tracking key."""
    return ContactRecord(
        tracking=tracking,
        offer=alternative.offer,
        group=alternative.group,
        issue=alternative.issue,
        channel=alternative.channel,
        status=_RESERVED,
        flags=alternative.flags,
        reserved_ms=float(request.now_ms),
        expires_ms=float(request.lapses_ms),
        contact_ms=float(request.now_ms),
        outcome_ms=0.0,
    )


def released(records: Iterable[ContactRecord], trackings: Collection[bytes]) -> Records:
    """Without what is only reserved under these tracking keys: whoever reserved it told nobody."""
    return tuple(r for r in records if r.status != _RESERVED or r.tracking not in trackings or r.flags & LOST_FLAG)


def answered(record: ContactRecord, status: int, at_ms: float) -> ContactRecord:
    """The record after an outcome (its status bit). Only the first contact counts as its time, the last outcome as
    the outcome's; an impression is no outcome."""
    only_reserved = record.status == _RESERVED
    return record._replace(
        status=record.status | status,
        contact_ms=at_ms if only_reserved else min(record.contact_ms, at_ms),
        outcome_ms=record.outcome_ms if status == ContactStatus.IMPRESSION else max(record.outcome_ms, at_ms),
    )


def merged(records: Sequence[ContactRecord], others: Iterable[ContactRecord]) -> Records:
    """The records with others put in where their time belongs; two accounts of one contact become one.

    Merging is idempotent, and the order in which accounts come does not matter to what any rule counts.
    """
    held = list(records)
    for other in others:
        place = next((at for at, record in enumerate(held) if record.tracking == other.tracking), None)
        if place is not None:
            held[place] = _joined(held[place], other)
            continue
        at = len(held)
        while at > 0 and held[at - 1].reserved_ms > other.reserved_ms:
            at -= 1
        held.insert(at, other)
    return tuple(held)


def _first_allowed(
    alternatives: Sequence[Alternative], request: ReservationRequest, held: Sequence[ContactRecord], offered: set[int]
) -> int | None:
    for index, alternative in enumerate(alternatives):
        repeated = alternative.offer in offered and not request.allow_duplicates
        if not repeated and first_refusal(alternative.rules, held, request.now_ms) is None:
            return index
    return None


def _joined(one: ContactRecord, other: ContactRecord) -> ContactRecord:
    """What both accounts of a contact say together."""
    if one.status == _RESERVED:
        contact_ms = other.contact_ms
    elif other.status == _RESERVED:
        contact_ms = one.contact_ms
    else:
        contact_ms = min(one.contact_ms, other.contact_ms)
    return one._replace(
        status=one.status | other.status,
        flags=one.flags | other.flags,
        reserved_ms=min(one.reserved_ms, other.reserved_ms),
        expires_ms=max(one.expires_ms, other.expires_ms),
        contact_ms=contact_ms,
        outcome_ms=max(one.outcome_ms, other.outcome_ms),
    )


def _mark(dropped: Sequence[ContactRecord]) -> ContactRecord:
    status = 0
    for record in dropped:
        # A record with an answer counts by its answers alone, one without as long as its reservation holds.
        status |= _RESERVED if record.status == _RESERVED else record.status & (_ANY_RESPONSE | _lost_reserved(record))
    return ContactRecord(
        tracking=bytes(8),
        offer=0,
        group=0,
        issue=0,
        channel=0,
        status=status,
        flags=LOST_FLAG,
        reserved_ms=0.0,
        expires_ms=0.0,
        contact_ms=max(record.contact_ms for record in dropped),
        outcome_ms=max(record.outcome_ms for record in dropped),
    )


def _lost_reserved(record: ContactRecord) -> int:
    return _RESERVED if record.flags & LOST_FLAG else 0


def _is_answered(record: ContactRecord) -> bool:
    return bool(record.status & ~_UNANSWERED)
