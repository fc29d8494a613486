"""The decision, top to bottom: `decide` makes a draft, the caller reserves it in the ledger, `settle` makes it final.

Both are pure: the same arguments give the same result, whoever computes it and whenever.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from decision_engine.arbitration import context_weights, rank_offers
from decision_engine.availability import screen_availability
from decision_engine.calendar_windows import local_time
from decision_engine.candidates import asked_placements, offers_in_play
from decision_engine.consent import PERSONALISATION, is_granted, screen_consent
from decision_engine.contact_ledger import ContactRecord
from decision_engine.contact_policy import ContactMoment, screen_contacts, screen_without_ledger
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest
from decision_engine.draft import Draft
from decision_engine.engagement_policy import screen_engagement
from decision_engine.experiment import Arm, assign_arm
from decision_engine.identifiers import key32
from decision_engine.matrix import context_facts
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import Scorers
from decision_engine.rejections import PASSED, Falls, Indexes, combine
from decision_engine.replay import recorded_attributes
from decision_engine.reservation import plan_reservation
from decision_engine.scoring import Scores, score_neutrally, score_offers
from decision_engine.seating import ReservationMismatch
from decision_engine.settlement import settle_draft
from decision_engine.slate import SlateTerms, fill_slate
from decision_engine.suitability import assess_suitability

__all__ = ["Draft", "ReservationMismatch", "decide", "prepare", "settle"]

LEDGER_UNAVAILABLE = "ledger_unavailable"
"""The degraded cause that tells the engine it was given no contact records."""


def decide(
    prepared: PreparedStrategy,
    request: DecisionRequest,
    snapshot: CustomerSnapshot,
    records: Sequence[ContactRecord],
    scorers: Scorers,
) -> Draft:
    """Decides what to offer. `records` are this person's contacts, oldest first; `scorers` the models that are live.

    Never raises for what a customer, a request or a model may bring; a model's failure marks the decision degraded.
    """
    personalised = is_granted(PERSONALISATION, prepared.strategy.consents, snapshot)
    asked = asked_placements(prepared.placements, request)
    truth = prepared.conditions.evaluate(request, snapshot)
    moment = ContactMoment(prepared.contacts, key32(request.channel), request.now_ms)
    standing = assess_suitability(prepared.strategy.suitability, snapshot, request.now_ms)
    falls = reduce(
        combine,
        (
            screen_availability(prepared.availability, request.now_ms),
            screen_consent(prepared.consent, snapshot, request.channel),
            screen_engagement(prepared.engagement, truth, standing),
            _screen_contacts(moment, request, records),
        ),
    )
    alive = np.flatnonzero((falls == PASSED) & offers_in_play(asked, len(prepared.offers)))
    plan = prepared.arbitration
    weights = context_weights(plan, truth, plan.weights if personalised else plan.neutral_weights)
    if personalised:
        scores = _score(prepared, request, snapshot, alive, scorers)
    else:
        scores = score_neutrally(prepared.scoring, alive)
    ranking = rank_offers(plan, alive, scores.propensity, weights)
    arm = assign_arm(prepared.strategy.experiment.salt, prepared.arms, request.customer_id)
    held_out = prepared.contacts.marketing if arm is Arm.HOLDOUT else prepared.nothing
    order = ranking.order[~held_out[ranking.order]]
    slate = fill_slate(asked, order, prepared.entrants, _slate_terms(prepared, request, arm))
    return Draft(
        request=request,
        snapshot=snapshot,
        personalised=personalised,
        arm=arm,
        truth=truth,
        falls=falls,
        scores=scores,
        ranking=ranking,
        held_out=held_out,
        slate=slate,
        attributes=recorded_attributes(prepared, snapshot, scorers if personalised else None),
        reservation=plan_reservation(prepared, request, slate, moment),
    )


def settle(prepared: PreparedStrategy, draft: Draft, taken: Sequence[int | None]) -> Decision:
    """Makes a draft final by the ledger's answer: for each position of `draft.reservation` the index of the alternative
    it reserved, or None if it refused all. Raises ReservationMismatch when the answer does not fit the draft."""
    return settle_draft(prepared, draft, taken)


def _screen_contacts(moment: ContactMoment, request: DecisionRequest, records: Sequence[ContactRecord]) -> Falls:
    if LEDGER_UNAVAILABLE in request.degraded_causes:
        return screen_without_ledger(moment.plan)
    return screen_contacts(moment, records)


def _score(
    prepared: PreparedStrategy, request: DecisionRequest, snapshot: CustomerSnapshot, alive: Indexes, scorers: Scorers
) -> Scores:
    facts = context_facts(request, local_time(request.now_ms, prepared.zone)) if scorers else {}
    return score_offers(prepared.scoring, alive, scorers, snapshot.attributes, facts)


def _slate_terms(prepared: PreparedStrategy, request: DecisionRequest, arm: Arm) -> SlateTerms:
    exploration = prepared.strategy.exploration
    epsilon = exploration.epsilon if exploration.kind == "epsilon_greedy" else 0.0
    return SlateTerms(
        epsilon=1.0 if arm is Arm.RANDOM_ELIGIBLE else epsilon,
        seed=request.decision_id,
        allow_duplicates=request.allow_duplicates,
    )
