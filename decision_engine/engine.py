"""The decision, top to bottom: `decide` makes a draft, the caller reserves it in the ledger, `settle` makes it final.

Both are pure: the same arguments give the same result, whoever computes it and whenever.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from decision_engine.arbitration import context_weights, plan_at
from decision_engine.availability import screen_availability, screen_shown, screen_trigger
from decision_engine.boosts import boost_weights
from decision_engine.calendar_windows import local_time
from decision_engine.candidates import AskedPlacement, asked_placements, offers_in_play
from decision_engine.consent import is_granted, screen_consent
from decision_engine.contact_ledger import ContactRecord
from decision_engine.contact_policy import ContactMoment, screen_contacts, screen_without_ledger
from decision_engine.customer import PERSONALISATION, CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest
from decision_engine.draft import Draft
from decision_engine.engagement_policy import screen_engagement
from decision_engine.experiment import Arm
from decision_engine.experiment_layers import assign_trial
from decision_engine.identifiers import key32
from decision_engine.kill_switches import screen_switches, without_stopped
from decision_engine.matrix import context_facts
from decision_engine.online import segment_of
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import Scorers
from decision_engine.quiet_hours import screen_quiet
from decision_engine.rejections import PASSED, Falls, Indexes, Mask, combined
from decision_engine.replay import recorded_attributes
from decision_engine.reservation import plan_reservation
from decision_engine.scoring import Scores, learn_on, score_neutrally, score_offers
from decision_engine.seating import ReservationMismatch
from decision_engine.settlement import settle_draft
from decision_engine.slate import SlateTerms, fill_slate
from decision_engine.suitability import assess_suitability
from decision_engine.trial_ranking import explorer_of, rank_in_trial
from decision_engine.volume import hold_back, recorded_view, resource_costs, screen_volumes
from decision_engine.volume_view import NO_VOLUMES, VolumeView

__all__ = ["Draft", "ReservationMismatch", "Screened", "arrange", "decide", "prepare", "screen", "settle"]

TRIGGER = "trigger"
"""The context attribute that names the trigger that decides."""
LEDGER_UNAVAILABLE = "ledger_unavailable"
"""The degraded cause that tells the engine it was given no contact records."""


class Screened(NamedTuple):  # every decision makes one
    """The offers that passed every gate (`alive`), and what was found on the way."""

    request: DecisionRequest
    snapshot: CustomerSnapshot
    records: Sequence[ContactRecord]
    volumes: VolumeView
    personalised: bool
    asked: tuple[AskedPlacement, ...]
    truth: Mask
    moment: ContactMoment
    falls: Falls
    alive: Indexes


def decide(
    prepared: PreparedStrategy,
    request: DecisionRequest,
    snapshot: CustomerSnapshot,
    records: Sequence[ContactRecord],
    scorers: Scorers,
    volumes: VolumeView = NO_VOLUMES,
) -> Draft:
    """Decides what to offer. `records` are this person's contacts, oldest first; `scorers` the models that are live;
    `volumes` what is left of the bank's volumes (one it does not name limits nothing).

    Never raises for what a customer, a request or a model may bring; a model's failure marks the decision degraded.
    """
    return arrange(prepared, screen(prepared, request, snapshot, records, volumes), scorers)


def screen(
    prepared: PreparedStrategy,
    request: DecisionRequest,
    snapshot: CustomerSnapshot,
    records: Sequence[ContactRecord],
    volumes: VolumeView = NO_VOLUMES,
) -> Screened:
    """The first half of `decide`: conditions, gates and caps. Halves, so that whoever has a clock can time them."""
    asked = asked_placements(prepared.placements, request)
    truth = prepared.conditions.evaluate(request, snapshot)
    moment = ContactMoment(prepared.contacts, key32(request.channel), request.now_ms)
    falls = combined(
        *_screen_offers(prepared, request, snapshot, truth),
        *_screen_contacts(prepared, moment, request, records),
        screen_volumes(prepared.volumes, volumes, request.channel) if volumes else None,
    )
    return Screened(
        request=request,
        snapshot=snapshot,
        records=records,
        volumes=volumes,
        personalised=is_granted(PERSONALISATION, prepared.strategy.consents, snapshot),
        asked=asked,
        truth=truth,
        moment=moment,
        falls=falls,
        alive=np.flatnonzero((falls == PASSED) & offers_in_play(asked, len(prepared.offers))),
    )


def arrange(prepared: PreparedStrategy, screened: Screened, scorers: Scorers) -> Draft:
    """The other half: scores, order, slate, and what is to be reserved."""
    request, snapshot, records, volumes, personalised, asked, truth, moment, falls, alive = screened
    scorers = without_stopped(scorers, request.switches)
    plan = plan_at(prepared.arbitration, request.now_ms)
    weights = context_weights(plan, truth, plan.weights if personalised else plan.neutral_weights)
    if personalised and prepared.boosts.boosts and LEDGER_UNAVAILABLE not in request.degraded_causes:
        weights = weights + boost_weights(prepared.boosts, records, request.now_ms)
    trial = assign_trial(prepared.experiments, request.customer_id)
    if personalised and trial.arm is not Arm.PRIOR:
        scores = _score(prepared, request, snapshot, truth, alive, scorers)
    else:
        scores = score_neutrally(prepared.scoring, alive)
    costs = resource_costs(prepared.volumes, volumes, request.channel, scores.propensity) if volumes else None
    ranking = rank_in_trial(trial, plan, alive, scores.propensity, weights, costs)
    held_back, ranking = (None, ranking) if costs is None else hold_back(ranking, plan.mandatory)
    explorer = explorer_of(prepared, trial, request, ranking, scores, scorers)
    terms = SlateTerms(explorer, prepared.slate, request.channel, request.allow_duplicates)
    slate = fill_slate(asked, ranking.order[~trial.held_out[ranking.order]], prepared.entrants, terms)
    return Draft(
        request=request,
        snapshot=snapshot,
        personalised=personalised,
        trial=trial,
        truth=truth,
        falls=falls,
        scores=scores,
        ranking=ranking,
        held_out=trial.held_out,
        slate=slate,
        attributes=recorded_attributes(prepared, snapshot, scorers if personalised else None),
        reservation=plan_reservation(prepared, request, slate, moment),
        volumes=recorded_view(prepared.volumes, volumes) if volumes else NO_VOLUMES,
        held_back=held_back,
    )


def settle(prepared: PreparedStrategy, draft: Draft, taken: Sequence[int | None]) -> Decision:
    """Makes a draft final by the ledger's answer: for each position of `draft.reservation` the index of the alternative
    it reserved, or None if it refused all. Raises ReservationMismatch when the answer does not fit the draft."""
    return settle_draft(prepared, draft, taken)


def _screen_offers(
    prepared: PreparedStrategy, request: DecisionRequest, snapshot: CustomerSnapshot, truth: Mask
) -> Sequence[Falls | None]:
    """What kill switches, dates, what is shown already, triggers, consents and engagement policies refuse."""
    standing = assess_suitability(prepared.strategy.suitability, snapshot, request.now_ms)
    trigger = request.context.get(TRIGGER)
    return (
        screen_switches(prepared.switches, request.switches, request.channel),
        screen_availability(prepared.availability, request.now_ms),
        screen_shown(prepared.availability, request.shown),
        None if trigger is None else screen_trigger(prepared.availability, trigger),
        screen_consent(prepared.consent, snapshot, request.channel),
        screen_engagement(prepared.engagement, truth, standing),
    )


def _screen_contacts(
    prepared: PreparedStrategy, moment: ContactMoment, request: DecisionRequest, records: Sequence[ContactRecord]
) -> tuple[Falls | None, Falls | None]:
    """What quiet times and the person's contacts refuse."""
    quiet = screen_quiet(prepared.quiet, request.channel, request.now_ms)
    blind = LEDGER_UNAVAILABLE in request.degraded_causes
    return quiet, screen_without_ledger(moment.plan) if blind else screen_contacts(moment, records)


def _score(
    prepared: PreparedStrategy,
    request: DecisionRequest,
    snapshot: CustomerSnapshot,
    truth: Mask,
    alive: Indexes,
    scorers: Scorers,
) -> Scores:
    """What the models say, and what has been learnt since they were fitted."""
    facts = context_facts(request, local_time(request.now_ms, prepared.zone)) if scorers else {}
    scores = score_offers(prepared.scoring, alive, scorers, snapshot.attributes, facts, snapshot.holdings)
    if prepared.online is None or request.online is None:
        return scores
    place = (request.channel, segment_of(prepared.online, truth), alive)
    return learn_on(prepared.scoring, prepared.online, request.online, scores, place)
