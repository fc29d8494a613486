"""The online layer in one process: the same book and the same table as in a deployment, without bus and store."""

from dataclasses import dataclass, field

from decision_engine.online import OnlinePlan, OnlineTable, unknown_table
from decision_engine.outcomes import Outcome
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from models.online.book import Book
from models.online.evidence import CellKey
from models.online.tables import exposure_of, online_table, taught_by_version
from services.simulation.served_decisions import Served

ACCEPTING = frozenset({Outcome.ACCEPT, Outcome.CONVERT})


@dataclass(slots=True)
class InProcessLearner:
    """Takes in decisions with their responses, and gives the table of beliefs as of a moment."""

    prepared: PreparedStrategy
    plan: OnlinePlan
    scorers: Scorers = field(default_factory=dict)
    """The models that decide, so that it is known which offers they were fitted with."""
    book: Book = field(init=False)

    def __post_init__(self) -> None:
        self.book = Book(self.plan.terms)

    def note(self, served: Served) -> None:
        """A decision and what became of its options."""
        decision, used = served.decision, served.decision.online
        if used is None:
            return
        multipliers = dict(zip(used.treatments, used.multipliers, strict=True))
        for option in (option for placement in decision.placements for option in placement.options):
            candidate = option.candidate
            key = CellKey(used.versions[candidate.offer], str(candidate.treatment), used.segment)
            exposure = exposure_of(used.base[candidate.offer], multipliers[candidate.treatment])
            self.book.decided(str(option.tracking_id), key, exposure, decision.now_ms)
        for response in served.responses:
            if response.outcome is Outcome.IMPRESSION:
                self.book.seen(response.tracking_id, response.at_ms)
            elif response.outcome in ACCEPTING:
                self.book.accepted(response.tracking_id, response.at_ms)

    def table(self, now_ms: int) -> OnlineTable:
        """What is believed as of now."""
        self.book.advance(now_ms)
        if not self.book.cells:
            return unknown_table(self.plan)
        return online_table(
            self.plan, self.prepared.offers, [self.book.cells], now_ms, taught_by_version(self.scorers.values())
        )
