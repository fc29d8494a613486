"""The contact ledger of one customer held in this process, with the meaning the store's functions have.

Only for simulations: there one decision is made at a time, so nothing needs to be atomic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from decision_engine.contact_ledger import Alternative, ContactRecord, ReservationRequest, first_refusal
from decision_engine.outcomes import ContactStatus, Outcome

RETENTION_MS = 400 * 86_400_000
_BITS = {outcome: ContactStatus[outcome.name] for outcome in Outcome}


@dataclass(slots=True)
class InProcessLedger:
    """One person's contacts, oldest first."""

    records: list[ContactRecord] = field(default_factory=list)

    def reserve(self, request: ReservationRequest) -> list[int | None]:
        """For each position the index of the first alternative that no rule refuses; that one is reserved."""
        self._prune(request.now_ms)
        taken: list[int | None] = []
        offered: set[int] = set()
        for alternatives in request.positions:
            choice = self._first_allowed(alternatives, request, offered)
            taken.append(choice)
            if choice is not None:
                offered.add(alternatives[choice].offer)
                self.records.append(_reserved(alternatives[choice], request))
        return taken

    def respond(self, tracking: bytes, outcome: Outcome, at_ms: int) -> None:
        """Applies one outcome to the contact of that tracking key; an unknown one changes nothing."""
        for place, record in enumerate(self.records):
            if record.tracking == tracking:
                self.records[place] = _answered(record, outcome, at_ms)

    def _first_allowed(
        self, alternatives: Sequence[Alternative], request: ReservationRequest, offered: set[int]
    ) -> int | None:
        for index, alternative in enumerate(alternatives):
            repeated = alternative.offer in offered and not request.allow_duplicates
            if not repeated and first_refusal(alternative.rules, self.records, request.now_ms) is None:
                return index
        return None

    def _prune(self, now_ms: int) -> None:
        self.records = [
            record
            for record in self.records
            if not (record.status == ContactStatus.RESERVED and record.expires_ms <= now_ms)
            and max(record.reserved_ms, record.contact_ms, record.outcome_ms) >= now_ms - RETENTION_MS
        ]


def _reserved(alternative: Alternative, request: ReservationRequest) -> ContactRecord:
    return ContactRecord(
        tracking=alternative.tracking,
        offer=alternative.offer,
        group=alternative.group,
        issue=alternative.issue,
        channel=alternative.channel,
        status=ContactStatus.RESERVED,
        flags=int(alternative.mandatory),
        reserved_ms=request.now_ms,
        expires_ms=request.lapses_ms,
        contact_ms=request.now_ms,
        outcome_ms=0,
    )


def _answered(record: ContactRecord, outcome: Outcome, at_ms: int) -> ContactRecord:
    reserved = record.status == ContactStatus.RESERVED
    return replace(
        record,
        status=record.status | _BITS[outcome],
        contact_ms=at_ms if reserved else min(record.contact_ms, at_ms),
        outcome_ms=record.outcome_ms if outcome is Outcome.IMPRESSION else max(record.outcome_ms, at_ms),
    )
