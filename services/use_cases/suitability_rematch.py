"""Suitability matched anew: an acceptance is judged by what holds now, not by what held when the option was offered.

Between an offer and its acceptance the customer may have been assessed anew, the assessment may have run out, or the
product may have been rated higher. The acceptance is recorded all the same, for it happened; but it says that it no
longer suits, and the channel must not carry it out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decision_engine.customer import CustomerSnapshot
from decision_engine.identifiers import CustomerId, OfferName
from decision_engine.outcomes import Outcome
from decision_engine.rejections import ENGINE_REJECTIONS, EngineRejection, Rejection
from decision_engine.suitability import assess_suitability
from services.ports import DecisionStore, TrackedOption
from services.use_cases.customer_facts import customer_facts
from services.use_cases.make_decision import Live

BINDING_OUTCOMES = frozenset({Outcome.ACCEPT, Outcome.CONVERT})
"""Outcomes by which a customer would come to hold the product."""
_NOT_LIVE = 0
"""Stands for the risk level, 1 to 5, of an offer that the live strategy does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitabilityRematch:
    """Judges acceptances by the live strategy and the customer's present state."""

    store: DecisionStore
    live: Callable[[], Live]

    async def __call__(
        self, answers: Sequence[tuple[TrackedOption, Outcome]], now_ms: int
    ) -> list[Rejection | None]:  # fmt: skip
        """For each answer why its offer no longer suits; None where it does, or nothing binds. A state that cannot be
        read suits no investment product, and an offer that is not live any more, whose risk nobody can tell, suits
        nobody. Raises StoreUnavailable."""
        live = self.live()
        levels = {offer.name: offer.risk_level for offer in live.prepared.offers}
        at_stake = [
            levels.get(OfferName(option.offer), _NOT_LIVE) if outcome in BINDING_OUTCOMES else None
            for option, outcome in answers
        ]
        snapshots: dict[CustomerId, CustomerSnapshot] = {}
        for (option, _), level in zip(answers, at_stake, strict=True):
            if level and option.customer_id not in snapshots:
                reading = await (live.states or self.store).read_for_decision(option.customer_id, None)
                snapshots[option.customer_id] = customer_facts(live.features, reading, (), now_ms).snapshot
        return [
            None if level is None else _refusal(live, snapshots.get(option.customer_id), level, now_ms)
            for (option, _), level in zip(answers, at_stake, strict=True)
        ]


def _refusal(live: Live, snapshot: CustomerSnapshot | None, level: int, now_ms: int) -> Rejection | None:
    if level == _NOT_LIVE or snapshot is None:
        return ENGINE_REJECTIONS[EngineRejection.SUITABILITY_MISSING]
    standing = assess_suitability(live.prepared.strategy.suitability, snapshot, now_ms)
    return None if level <= standing.level else ENGINE_REJECTIONS[standing.refusal]
