"""Decisions made in this process by the real engine for simulated visits, with responses drawn from the truth."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest, Option, PlacementRequest
from decision_engine.draws import draw_fraction
from decision_engine.engine import decide, settle
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.identifiers import CustomerId, DecisionId, key64
from decision_engine.online import OnlineTable
from decision_engine.outcomes import Fate, Outcome
from decision_engine.prepared import prepare
from decision_engine.propensity import Scorers
from decision_engine.strategy import Experiment, Exploration, Strategy
from services.simulation.asking import Asked, Asking
from services.simulation.cloud_events import EventHead, TimedEvent, cloud_event, rfc3339
from services.simulation.hours import hour_of
from services.simulation.in_process_ledger import InProcessLedger
from services.simulation.in_process_states import InProcessStates
from services.simulation.policy_value import JudgedDecision
from services.simulation.population import Population
from services.simulation.truth import Exposures, Moment, ResponseModel, react
from services.simulation.visits import Visit

MODEL_POLICY, BASE_RATE_POLICY, SERVED = "arbitration with model", "arbitration with base rates", "as served"


@dataclass(frozen=True, slots=True, kw_only=True)
class Responded:
    """One outcome of a served option."""

    tracking_id: str
    outcome: Outcome
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A decision as served, the request it answers, and what the customer did with the first option."""

    request: DecisionRequest
    decision: Decision
    responses: tuple[Responded, ...]


class Counter:
    """The counter of one deployment in one process: states, ledgers, truth, and the engine in three guises.

    `prepared` serves as the strategy says, with exploration and experiment arms; `greedy` is the same strategy without
    either, to see what arbitration alone would choose.
    """

    def __init__(self, strategy: Strategy, people: Population, seed: int) -> None:
        self.strategy = strategy
        self.features: CompiledFeatures = compile_features(strategy.declarations)
        self.states = InProcessStates(self.features, strategy)
        self.truth = ResponseModel(strategy.offers, seed)
        self._prepared = prepare(strategy)
        self._greedy = prepare(
            replace(
                strategy,
                exploration=Exploration(),
                experiment=Experiment(salt="none", shares={}),
                holdouts=(),
                experiments=(),
            )
        )
        self._asking = Asking(strategy)
        self._zone = ZoneInfo(strategy.time_zone)
        self._people, self._seed = people, seed
        self._ledgers: dict[str, InProcessLedger] = {}
        self._exposures = Exposures()
        self._offers = {str(offer.name): offer for offer in strategy.offers}
        self._number = 0
        self.online: OnlineTable | None = None
        """What is believed about treatments now, where the strategy learns online."""

    def continued(self, strategy: Strategy) -> "Counter":
        """The same customers with all that has happened to them, from now on served by another strategy over the same
        features and offers; this one is left as it is."""
        other = Counter(strategy, self._people, self._seed)
        other.truth, other.states = self.truth, self.states.copied()
        other._ledgers, other._exposures = deepcopy(self._ledgers), deepcopy(self._exposures)
        other._number = self._number
        return other

    def serve(self, visit: Visit, scorers: Scorers) -> Served | None:
        """Decides for a visit and lets the customer react; None when the strategy has nothing to ask there."""
        question = self._question(visit)
        return None if question is None else self._serve(visit, question, scorers)

    def _serve(self, visit: Visit, question: tuple[DecisionRequest, CustomerSnapshot], scorers: Scorers) -> Served:
        request, snapshot = question
        ledger = self._ledgers.setdefault(request.customer_id, InProcessLedger())
        draft = decide(self._prepared, request, snapshot, ledger.records, scorers)
        decision = settle(self._prepared, draft, ledger.reserve(draft.reservation))
        option = next((option for placement in decision.placements for option in placement.options), None)
        responses = () if option is None else self._react(visit, ledger, option)
        return Served(request=request, decision=decision, responses=responses)

    def judge(self, visit: Visit, scorers: Scorers) -> tuple[JudgedDecision | None, Served | None]:
        """Serves with these models, and says what the truth is about this decision.

        Not judged are decisions in which a mandatory message leaves no choice, or nothing was eligible.
        """
        question = self._question(visit)
        if question is None:
            return None, None
        request, snapshot = question
        ledger = self._ledgers.setdefault(request.customer_id, InProcessLedger())
        with_model = self._greedy_decision(request, snapshot, ledger, scorers)
        with_base_rates = self._greedy_decision(request, snapshot, ledger, {})
        expected = self._expected(visit, with_model)
        served = self._serve(visit, question, scorers)
        if not expected or _is_mandatory(with_model):
            return None, served
        chosen = {
            MODEL_POLICY: _first_offer(with_model),
            BASE_RATE_POLICY: _first_offer(with_base_rates),
            SERVED: _first_offer(served.decision),
        }
        return JudgedDecision(customer_id=request.customer_id, expected=expected, chosen=chosen), served

    def worth(self, visit: Visit, served: Served) -> JudgedDecision | None:
        """The truth about a decision as it was served; None where there was no choice, as in `judge`."""
        expected = self._expected(visit, served.decision)
        if not expected or _is_mandatory(served.decision):
            return None
        chosen = {SERVED: _first_offer(served.decision)}
        return JudgedDecision(customer_id=served.request.customer_id, expected=expected, chosen=chosen)

    def _question(self, visit: Visit) -> tuple[DecisionRequest, CustomerSnapshot] | None:
        asked = self._asking.question(visit)
        if asked is None:
            return None
        snapshot = self.states.read(f"retail:{visit.customer + 1}", visit.at_ms)
        self._number += 1
        return self._request(visit, asked), snapshot

    def _request(self, visit: Visit, asked: Asked) -> DecisionRequest:
        return DecisionRequest(
            decision_id=DecisionId(f"{self._seed}-{self._number:08d}"),
            customer_id=CustomerId(f"retail:{visit.customer + 1}"),
            channel=asked.channel,
            placements=(PlacementRequest(id=asked.placement, count=asked.count),),
            now_ms=visit.at_ms,
            context=asked.context,
            locale=self.strategy.locales[0],
            online=self.online,
        )

    def _greedy_decision(
        self, request: DecisionRequest, snapshot: CustomerSnapshot, ledger: InProcessLedger, scorers: Scorers
    ) -> Decision:
        """What arbitration alone would choose; nothing is reserved."""
        draft = decide(self._greedy, request, snapshot, ledger.records, scorers)
        return settle(self._greedy, draft, [0 if position else None for position in draft.reservation.positions])

    def _expected(self, visit: Visit, decision: Decision) -> Mapping[str, float]:
        """The true expected value of every eligible offer, by name."""
        names = eligible_offers(decision)
        if not names:
            return {}
        values = self.truth.expected_values(
            self._people.traits[visit.customer],
            self._moment(visit),
            [self.truth.index[name] for name in names],
            [self._exposures.count(f"{visit.customer}", name, visit.at_ms) for name in names],
        )
        return dict(zip(names, values.tolist(), strict=True))

    def _moment(self, visit: Visit) -> Moment:
        return Moment(channel=visit.channel, hour=hour_of(visit.at_ms, self._zone), page=visit.page)

    def _react(self, visit: Visit, ledger: InProcessLedger, option: Option) -> tuple[Responded, ...]:
        offer, tracking = str(option.candidate.offer), str(option.tracking_id)
        exposures = self._exposures.count(f"{visit.customer}", offer, visit.at_ms)
        traits = self._people.traits[visit.customer]
        chance = self.truth.probabilities(traits, self._moment(visit), [self.truth.index[offer]], [exposures])
        self._exposures.note(f"{visit.customer}", offer, visit.at_ms)
        draws = (draw_fraction(tracking, "accept"), draw_fraction(tracking, "reject"))
        reaction = react(float(chance[0]), *draws)
        happened = [Outcome.IMPRESSION]
        happened += [Outcome.CLICK] if reaction.click else []
        happened += [Outcome.ACCEPT] if reaction.accept else [Outcome.REJECT] if reaction.reject else []
        responses = tuple(
            Responded(tracking_id=tracking, outcome=outcome, at_ms=visit.at_ms + 1_000 * (step + 1))
            for step, outcome in enumerate(happened)
        )
        for response in responses:
            ledger.respond(_tracking_key(tracking), response.outcome, response.at_ms)
        self.states.add(self._events(visit, option, responses))
        return responses

    def _events(self, visit: Visit, option: Option, responses: tuple[Responded, ...]) -> list[TimedEvent]:
        """The responses as the bus would carry them, and the product of an accepted offer."""
        offer = self._offers[str(option.candidate.offer)]
        events = [_response_event(visit, option, response, (offer.group, offer.issue)) for response in responses]
        if offer.product and responses[-1].outcome is Outcome.ACCEPT:
            head = EventHead(
                id=f"opened-{option.tracking_id}",
                type="bank.product.opened",
                source="bank",
                subject=f"retail:{visit.customer + 1}",
                at_ms=visit.at_ms + 60_000,
            )
            events.append(cloud_event(head, {"product": offer.product}))
        return events


def eligible_offers(decision: Decision) -> list[str]:
    """The offers that passed every gate, each once, in the order of the record."""
    fates = (Fate.OFFERED, Fate.RANKED_LOWER)
    return list(dict.fromkeys(str(c.offer) for c in decision.candidates if c.fate in fates))


def _first_offer(decision: Decision) -> str | None:
    options = (option for placement in decision.placements for option in placement.options)
    return next((str(option.candidate.offer) for option in options), None)


def _is_mandatory(decision: Decision) -> bool:
    return any(option.mandatory for placement in decision.placements for option in placement.options)


def _tracking_key(tracking: str) -> bytes:
    return key64(tracking).to_bytes(8, "little")


def _response_event(visit: Visit, option: Option, response: Responded, place: tuple[str, str]) -> TimedEvent:
    candidate = option.candidate
    decision_id = response.tracking_id.rpartition(".")[0]
    head = EventHead(
        id=f"{response.tracking_id}-{response.outcome}",
        type="nbo.response.recorded",
        source="kairos",
        subject=f"retail:{visit.customer + 1}",
        at_ms=response.at_ms,
    )
    return cloud_event(
        head,
        {
            "response_id": head.id,
            "tracking_id": response.tracking_id,
            "decision_id": decision_id,
            "customer_id": head.subject,
            "offer": candidate.offer,
            "group": place[0],
            "issue": place[1],
            "treatment": candidate.treatment,
            "channel": visit.channel,
            "placement": candidate.placement,
            "outcome": response.outcome.value,
            "time": rfc3339(response.at_ms),
            "decided_at": rfc3339(visit.at_ms),
        },
    )
