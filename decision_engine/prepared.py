"""A strategy made ready to decide: conditions compiled, offers lined up, whatever no request changes computed once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from zoneinfo import ZoneInfo

import numpy as np

from decision_engine.arbitration import ArbitrationPlan, plan_arbitration
from decision_engine.attribute_selection import AttributeSelection
from decision_engine.availability import AvailabilityPlan, plan_availability
from decision_engine.boosts import BoostPlan, plan_boosts
from decision_engine.candidates import PlacementPlan, plan_placement
from decision_engine.condition_bits import ConditionBits, compile_conditions
from decision_engine.consent import ConsentPlan, plan_consent
from decision_engine.contact_policy import ContactPlan, plan_contacts
from decision_engine.contact_rules import RulePlan, plan_rules
from decision_engine.engagement_policy import EngagementPlan, plan_engagement
from decision_engine.experiment_arms import Allotment
from decision_engine.experiment_layers import ExperimentPlan, plan_experiments
from decision_engine.identifiers import PlacementId
from decision_engine.kill_switches import KillPlan, plan_switches
from decision_engine.model_training import newcomers_of
from decision_engine.offers import Offer
from decision_engine.online import OnlinePlan, plan_online
from decision_engine.quiet_hours import QuietPlan, plan_quiet
from decision_engine.reasons import ReasonPlan, plan_reasons
from decision_engine.rejected_candidates import RejectedCandidates, RejectionTable
from decision_engine.rejections import ENGINE_REJECTIONS, Mask
from decision_engine.scoring import ScoringPlan, plan_scoring
from decision_engine.slate_plan import SlatePlan, plan_slate
from decision_engine.strategy import Strategy
from decision_engine.volume import VolumePlan, plan_volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStrategy:
    """One plan for each stage, over the same numbering of the offers (by name).

    `entrants` are the offers exploration may move, `nothing` no offers at all. `gate_attributes` are the customer
    attributes that can keep an offer from being made, `attributes` all that any rule, reason or weight can read
    or a model is to learn from.
    """

    strategy: Strategy
    zone: ZoneInfo
    offers: tuple[Offer, ...]
    conditions: ConditionBits
    placements: Mapping[PlacementId, PlacementPlan]
    switches: KillPlan
    availability: AvailabilityPlan
    consent: ConsentPlan
    engagement: EngagementPlan
    contacts: ContactPlan
    contact_rules: RulePlan
    volumes: VolumePlan
    quiet: QuietPlan
    scoring: ScoringPlan
    arbitration: ArbitrationPlan
    boosts: BoostPlan
    entrants: frozenset[int]
    nothing: Mask
    arms: Allotment
    experiments: ExperimentPlan
    ramped: tuple[int, ...]
    """The offers that have a ramp."""
    reasons: ReasonPlan
    slate: SlatePlan
    rejections: RejectionTable
    rejected: Mapping[PlacementId, RejectedCandidates]
    gate_attributes: AttributeSelection
    attributes: AttributeSelection
    online: OnlinePlan | None = None
    """What is looked up where the strategy learns online."""


def prepare(strategy: Strategy) -> PreparedStrategy:
    """Compiles a checked strategy. Raises ConditionError or StrategyInvalid for one that was not checked."""
    offers = tuple(sorted(strategy.offers, key=lambda offer: offer.name))
    zone = ZoneInfo(strategy.time_zone)
    conditions = compile_conditions(strategy)
    placements = {place.id: plan_placement(place, offers) for place in strategy.placements.values()}
    consent, consent_rejections = plan_consent(offers, strategy.consents, len(ENGINE_REJECTIONS))
    fixed = ENGINE_REJECTIONS + consent_rejections
    contacts, refusals = plan_contacts(offers, strategy.contact_limits, zone, len(fixed), strategy.outbound_channels)
    fixed += refusals
    quiet, quiet_rejections = plan_quiet(strategy.quiet_times, contacts.held_by, zone, len(fixed))
    fixed += quiet_rejections
    volumes, volume_rejections = plan_volumes(offers, strategy.volumes, len(fixed))
    fixed += volume_rejections
    engagement = plan_engagement(offers, conditions, len(fixed))
    rejections = RejectionTable(fixed=fixed, rules=engagement.rules, columns=engagement.columns)
    arbitration = plan_arbitration(offers, conditions, strategy.levers)
    nothing = np.zeros(len(offers), np.bool_)
    experiments = plan_experiments(strategy, offers, marketing=contacts.marketing, nothing=nothing)
    gates = _gate_attributes(strategy, conditions)
    return PreparedStrategy(
        strategy=strategy,
        zone=zone,
        offers=offers,
        conditions=conditions,
        placements=placements,
        switches=plan_switches(offers, strategy.name, strategy.version),
        availability=plan_availability(offers, strategy.triggers),
        consent=consent,
        engagement=engagement,
        contacts=contacts,
        contact_rules=plan_rules(contacts),
        volumes=volumes,
        quiet=quiet,
        scoring=plan_scoring(offers, strategy.required_models, newcomers_of(strategy.trainings, offers)),
        arbitration=arbitration,
        boosts=plan_boosts(strategy.boosts, contacts),
        entrants=frozenset(np.flatnonzero(contacts.marketing & ~arbitration.mandatory).tolist()),
        nothing=nothing,
        arms=experiments.standing,
        experiments=experiments,
        ramped=tuple(number for number, offer in enumerate(offers) if offer.ramp is not None),
        reasons=plan_reasons(offers, conditions, strategy.locales[0]),
        slate=plan_slate(strategy.slate, offers),
        rejections=rejections,
        rejected={id_: RejectedCandidates(plan, offers, rejections) for id_, plan in placements.items()},
        gate_attributes=AttributeSelection(gates),
        attributes=AttributeSelection(gates.union(*conditions.attributes, _learnt_from(strategy))),
        online=plan_online(strategy.online, offers, conditions.places),
    )


def _learnt_from(strategy: Strategy) -> set[str]:
    return {name for training in strategy.trainings for name in training.learns_from}


def _gate_attributes(strategy: Strategy, conditions: ConditionBits) -> set[str]:
    gate = strategy.suitability
    names = {gate.level_attribute, gate.assessed_attribute} if gate is not None else set()
    return names.union(*(conditions.attributes[conditions.places[text]] for text in _gate_texts(strategy.offers)))


def _gate_texts(offers: Iterable[Offer]) -> Iterable[str]:
    return (rule.when for offer in offers for rule in chain(offer.eligibility, offer.applicability, offer.suitability))
