"""Decisions that another system made, as records this one can learn from and be judged on.

An earlier campaign system knows whom it sent what, with which chance, and what came of it. It does not know this
system's attributes. So a past decision is imported when the customer's state has been brought up to its moment and not
beyond: the record then holds the attributes as this system would have served them, and nothing of what came later.

Those who were sent something were chosen for it, by a chance; the chance kept with the option is that given that
something was sent. Those who were sent nothing are an arm of their own, the holdout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from decision_engine.consent import is_granted
from decision_engine.customer import PERSONALISATION, CustomerSnapshot
from decision_engine.experiment import Arm
from decision_engine.fallback import FallbackCause
from decision_engine.identifiers import PlacementId
from decision_engine.offers import Offer
from decision_engine.outcomes import Fate, Outcome
from decision_engine.strategy import Strategy
from event_schemas.codec import encode_trusted
from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.offer_catalogue import unlearnable_attributes
from services.ports import OutgoingEvent, ShellError
from services.use_cases.wire_time import rfc3339

IMPORTED = "imported"
"""The arm of imported decisions, and the beginning of their strategy's version: no strategy is kept under it, so nobody
mistakes them for decisions that can be computed again."""
_ROUNDING = 1e-6


class PastDecisionInvalid(ShellError):
    """A past decision or response that cannot be imported; the message names the field."""


class StateAhead(ShellError):
    """The customer's state knows of events after the decision, which its attributes would give away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDecision:
    """One choice of the other system. `chances` are those of every treatment it chose among, what is missing to 1
    being the chance of sending nothing; `offered` is the treatment sent, None for nothing."""

    decision_id: str
    customer_id: str
    at_ms: int
    placement: str
    chances: Mapping[str, float]
    offered: str | None

    @property
    def tracking_id(self) -> str:
        """What responses refer to."""
        return f"{self.decision_id}.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastResponse:
    """What the customer did with what was sent."""

    response_id: str
    outcome: Outcome
    at_ms: int


@dataclass(frozen=True, slots=True)
class PastDecisions:
    """Makes the events of past decisions and responses of one source, in the words of one strategy: its treatments,
    offers and placements, base rates for propensities, as nothing else was known then."""

    strategy: Strategy
    source: str
    feature_layout: str
    _offers: dict[str, Offer] = field(default_factory=dict, init=False, repr=False)
    """By treatment."""
    _unlearnable: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        for offer in self.strategy.offers:
            self._offers.update({str(treatment.name): offer for treatment in offer.treatments})
        self._unlearnable.update(unlearnable_attributes(self.strategy))

    def require_known(self, past: PastDecision) -> None:
        """Raises PastDecisionInvalid naming the first field that does not fit the strategy or itself."""
        names = {str(name) for name in self.strategy.placements}
        if past.placement not in names:
            raise PastDecisionInvalid(f"placement: the strategy has none named {past.placement!r}")
        for name, chance in past.chances.items():
            if name not in self._offers:
                raise PastDecisionInvalid(f"chances: the strategy has no treatment {name!r}")
            if not 0 < chance <= 1:
                raise PastDecisionInvalid(f"chances: {name} has {chance}, not a chance above 0 and at most 1")
        total = sum(past.chances.values())
        if total > 1 + _ROUNDING:
            raise PastDecisionInvalid(f"chances: they add up to {total:.6f}, more than 1")
        if past.offered is not None and past.offered not in past.chances:
            raise PastDecisionInvalid(f"offered: {past.offered!r} is not among the chances")
        if past.offered is None and total > 1 - _ROUNDING:
            raise PastDecisionInvalid("offered: nothing, though the chances leave none for that")

    def decision_event(self, past: PastDecision, snapshot: CustomerSnapshot) -> OutgoingEvent:
        """The decision's record with those attributes of that moment that a model may see: none of who refused
        personalisation.

        Raises PastDecisionInvalid, StateAhead.
        """
        self.require_known(past)
        if snapshot.newest_event_ms is not None and snapshot.newest_event_ms > past.at_ms:
            raise StateAhead(
                f"{past.decision_id}: the state of {past.customer_id} holds events up to "
                f"{rfc3339(snapshot.newest_event_ms)}, after the decision at {rfc3339(past.at_ms)}; import a decision "
                "when the events before it are applied and those after it not yet published"
            )
        time = rfc3339(past.at_ms)
        personalised = is_granted(PERSONALISATION, self.strategy.consents, snapshot)
        data: dict[str, object] = {
            "decision_id": past.decision_id,
            "client": self.source,
            "customer_id": past.customer_id,
            "time": time,
            "channel": self.strategy.placements[PlacementId(past.placement)].channel,
            "placements_asked": [{"id": past.placement, "count": 1}],
            "locale": self.strategy.locales[0],
            "strategy_version": f"{IMPORTED}-{self.source}",
            "feature_layout": self.feature_layout,
            "arm": Arm.HOLDOUT if past.offered is None else IMPORTED,
            "personalised": personalised,
            "known": snapshot.known,
            "attributes": self._learnable(snapshot) if personalised else {},
            "holdings": sorted(snapshot.holdings) if personalised else [],
            "consents": dict(snapshot.consents),
            "candidates": [] if past.offered is None else self._candidates(past),
            "placements": [self._answer(past)],
        }
        header = {"id": past.decision_id, "source": self.source, "subject": past.customer_id, "time": time}
        value = encode_trusted("nbo.decision.made", header, data)
        return OutgoingEvent(topic=DECISIONS, key=past.customer_id, value=value)

    def response_event(self, past: PastDecision, response: PastResponse) -> OutgoingEvent:
        """The response's event. Raises PastDecisionInvalid for a response to nothing, or before the decision."""
        if past.offered is None:
            raise PastDecisionInvalid(f"decision_id: {past.decision_id} sent nothing that could be responded to")
        if response.at_ms < past.at_ms:
            raise PastDecisionInvalid(f"time: {response.response_id} lies before its decision {past.decision_id}")
        offer, time = self._offers[past.offered], rfc3339(response.at_ms)
        data: dict[str, object] = {
            "response_id": response.response_id,
            "tracking_id": past.tracking_id,
            "decision_id": past.decision_id,
            "customer_id": past.customer_id,
            "offer": offer.name,
            "group": offer.group,
            "issue": offer.issue,
            "treatment": past.offered,
            "channel": self.strategy.placements[PlacementId(past.placement)].channel,
            "placement": past.placement,
            "outcome": response.outcome,
            "time": time,
            "decided_at": rfc3339(past.at_ms),
        }
        header = {"id": response.response_id, "source": self.source, "subject": past.customer_id, "time": time}
        value = encode_trusted("nbo.response.recorded", header, data)
        return OutgoingEvent(topic=RESPONSES, key=past.customer_id, value=value)

    def _learnable(self, snapshot: CustomerSnapshot) -> dict[str, object]:
        return {name: value for name, value in snapshot.attributes.items() if name not in self._unlearnable}

    def _candidates(self, past: PastDecision) -> list[dict[str, object]]:
        sent = sum(past.chances.values())
        return [
            {
                "placement": past.placement,
                "offer": self._offers[treatment].name,
                "treatment": treatment,
                "outcome": Fate.OFFERED if treatment == past.offered else Fate.RANKED_LOWER,
                "propensity": self._offers[treatment].base_rate,
                "value": self._offers[treatment].value,
                "selection_probability": min(1.0, chance / sent),
            }
            for treatment, chance in sorted(past.chances.items())
        ]

    def _answer(self, past: PastDecision) -> dict[str, object]:
        if past.offered is None:
            return {"id": past.placement, "options": [], "fallback_cause": FallbackCause.HOLDOUT}
        option = {
            "rank": 1,
            "offer": self._offers[past.offered].name,
            "treatment": past.offered,
            "tracking_id": past.tracking_id,
            "propensity": self._offers[past.offered].base_rate,
            "selection_probability": min(1.0, past.chances[past.offered] / sum(past.chances.values())),
        }
        return {"id": past.placement, "options": [option]}
