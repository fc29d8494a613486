"""The records of one person that contact limits count, found once for all limits that count the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from decision_engine.contact_ledger import LOST_FLAG, OUTBOUND_FLAG, ContactClock, ContactRecord, Direction, Scope
from decision_engine.outcomes import ContactStatus
from decision_engine.strategy import ContactLimit

_RESERVED = int(ContactStatus.RESERVED)
_ANY_RESPONSE = int(ContactStatus.ANY_RESPONSE)
_ANSWERS = int(ContactStatus.ANY_RESPONSE & ~ContactStatus.IMPRESSION)
_KEY_OF: Mapping[Scope, Callable[[ContactRecord], int]] = {
    Scope.OFFER: attrgetter("offer"),
    Scope.GROUP: attrgetter("group"),
    Scope.ISSUE: attrgetter("issue"),
    Scope.CHANNEL: attrgetter("channel"),
}
TIME_OF: Mapping[ContactClock, Callable[[ContactRecord], float]] = {
    ContactClock.CONTACT: attrgetter("contact_ms"),
    ContactClock.OUTCOME: attrgetter("outcome_ms"),
}


@dataclass(frozen=True, slots=True)
class LiveRecords:
    """The records that can count, each with the status it counts as; those of them that somebody answered; and the
    marks of those dropped."""

    records: list[tuple[int, ContactRecord]]
    answered: list[tuple[int, ContactRecord]]
    lost: list[ContactRecord]


def live_records(records: Sequence[ContactRecord], now_ms: int) -> LiveRecords:
    """A lapsed reservation is none."""
    live: list[tuple[int, ContactRecord]] = []
    lost: list[ContactRecord] = []
    for record in records:
        if record.flags & LOST_FLAG:
            lost.append(record)
        elif record.status != _RESERVED:
            live.append((record.status & _ANY_RESPONSE, record))
        elif record.expires_ms > now_ms:
            live.append((_RESERVED, record))
    return LiveRecords(live, [entry for entry in live if entry[0] & _ANSWERS], lost)


class MatchingRecords:
    """The records that limits of one counting count, in the order of the time that these go by."""

    def __init__(self, limit: ContactLimit, live: LiveRecords, *, outbound: bool) -> None:
        statuses, without = int(limit.statuses), int(limit.without)
        able = live.records if statuses & ~_ANSWERS else live.answered
        records = [r for status, r in able if status & statuses and not r.status & without]
        if limit.direction is not Direction.ANY:
            records = [record for record in records if bool(record.flags & OUTBOUND_FLAG) is outbound]
        time_of = TIME_OF[limit.clock]
        records.sort(key=time_of)
        self._records = records
        self.times = list(map(time_of, records))
        self._keys: dict[Scope, list[int]] = {}

    def keys(self, scope: Scope) -> list[int]:
        """The records' keys in a scope."""
        keys = self._keys.get(scope)
        if keys is None:
            keys = self._keys[scope] = list(map(_KEY_OF[scope], self._records))
        return keys
