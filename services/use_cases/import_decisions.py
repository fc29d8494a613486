"""Imports past decisions: reads each customer's state as of the decision, and puts the records onto the bus."""

from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from services.ports import EventPublisher, OutgoingEvent, StateStore
from services.use_cases.past_decisions import PastDecision, PastDecisions, PastResponse

CHUNK = 500
"""Customers read, or events acknowledged, at once."""


@dataclass(frozen=True, slots=True)
class Imported:
    """How many records went out, and of how many customers nothing was known at the time of their decision."""

    decisions: int
    responses: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportDecisions:
    """Publishes decisions, then the responses to them. Ids are those of the source, so importing again changes
    nothing."""

    store: StateStore
    features: CompiledFeatures
    publisher: EventPublisher
    past: PastDecisions

    async def __call__(
        self,
        decisions: Sequence[PastDecision],
        responses: Sequence[tuple[PastDecision, PastResponse]] = (),
    ) -> Imported:
        """Returns when the bus has acknowledged all.

        Raises PastDecisionInvalid and StateAhead before anything is published; StoreUnavailable, BusUnavailable.
        """
        answers = [self.past.response_event(decision, response) for decision, response in responses]
        records: list[OutgoingEvent] = []
        unknown = 0
        for start in range(0, len(decisions), CHUNK):
            chunk = decisions[start : start + CHUNK]
            states = await self.store.load_many([CustomerId(decision.customer_id) for decision in chunk])
            for decision, state in zip(chunk, states, strict=True):
                snapshot = read_snapshot(self.features, state, decision.at_ms)
                unknown += not snapshot.known
                records.append(self.past.decision_event(decision, snapshot))
        await self._publish(records)
        await self._publish(answers)
        return Imported(decisions=len(records), responses=len(answers), unknown=unknown)

    async def _publish(self, events: Sequence[OutgoingEvent]) -> None:
        for start in range(0, len(events), CHUNK):
            await self.publisher.publish(events[start : start + CHUNK])
