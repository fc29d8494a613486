"""The contact ledger of one side of a simulation: as recorded when the day began, then carried on by its own decisions.

A recorded response tells of a place that somebody saw. The side's own contact at that place was seen as well; what else
the customer did counts only where the same offer stood there, for what they would have done with another is not known.
"""

from bisect import bisect_right
from collections.abc import Sequence

from decision_engine.contact_ledger import ContactRecord, ReservationRequest
from decision_engine.ledger_steps import (
    RETENTION_MS,
    Records,
    answered,
    bounded,
    pruned,
    reservation,
    reserved,
)
from decision_engine.outcomes import Outcome, status_of
from services.simulation.recorded_day.recorded_answers import RecordedAnswer


class ContactsThen:
    """All customers' contacts on one side."""

    def __init__(self) -> None:
        self._records: dict[str, Records] = {}
        self._applied: dict[str, int] = {}

    def knows(self, customer: str) -> bool:
        """Whether the customer's ledger has begun."""
        return customer in self._records

    def begin(
        self, customer: str, records: Sequence[ContactRecord], answers: Sequence[RecordedAnswer], now_ms: int
    ) -> None:
        """What was in the ledger when the customer was first decided for, with what was answered until then."""
        self._records[customer] = tuple(records)
        self._applied[customer] = _until(answers, now_ms)

    def of(self, customer: str) -> Records:
        """The customer's contacts now, oldest first."""
        return self._records.get(customer, ())

    def catch_up(self, customer: str, answers: Sequence[RecordedAnswer], now_ms: int) -> None:
        """Applies the responses of the day up to now that were not applied yet."""
        applied = self._applied[customer]
        while applied < len(answers) and answers[applied].at_ms <= now_ms:
            self._answer(customer, answers[applied])
            applied += 1
        self._applied[customer] = applied

    def reserve(self, customer: str, request: ReservationRequest, *, sure: bool = False) -> list[int | None]:
        """For each position the alternative that no rule refuses, which is reserved then.

        `sure`: the draft was made on these very contacts at this very moment, so that no rule can refuse the winner of
        an only position, and none is asked again.
        """
        self._applied.setdefault(customer, 0)
        records = self.of(customer)
        if sure and len(request.positions) == 1 and request.positions[0]:
            mine = reservation(request.trackings[0], request.positions[0][0], request)
            self._records[customer] = bounded([*pruned(records, request.now_ms, RETENTION_MS), mine])
            return [0]
        taken, self._records[customer] = reserved(records, request)
        return taken

    def _answer(self, customer: str, answer: RecordedAnswer) -> None:
        records = self._records[customer]
        for place, record in enumerate(records):
            if record.tracking != answer.tracking:
                continue
            if record.offer == answer.offer_key or answer.outcome is Outcome.IMPRESSION:
                changed = answered(record, int(status_of(answer.outcome)), answer.at_ms)
                self._records[customer] = (*records[:place], changed, *records[place + 1 :])
            return


def _until(answers: Sequence[RecordedAnswer], now_ms: int) -> int:
    return bisect_right(answers, now_ms, key=lambda answer: answer.at_ms)
