"""The contact ledger of one customer held in this process, with the meaning the store's functions have.

Only for simulations: there one decision is made at a time, so nothing needs to be atomic.
"""

from dataclasses import dataclass, field

from decision_engine.contact_ledger import ContactRecord, ReservationRequest
from decision_engine.ledger_steps import RETENTION_MS, answered, pruned, reserved
from decision_engine.outcomes import Outcome, status_of


@dataclass(slots=True)
class InProcessLedger:
    """One person's contacts, oldest first."""

    records: list[ContactRecord] = field(default_factory=list)

    def reserve(self, request: ReservationRequest) -> list[int | None]:
        """For each position the index of the first alternative that no rule refuses; that one is reserved."""
        taken, records = reserved(self.records, request)
        self.records = list(pruned(records, request.now_ms, RETENTION_MS))
        return taken

    def respond(self, tracking: bytes, outcome: Outcome, at_ms: int) -> None:
        """Applies one outcome to the contact of that tracking key; an unknown one changes nothing."""
        for place, record in enumerate(self.records):
            if record.tracking == tracking:
                self.records[place] = answered(record, status_of(outcome), at_ms)
