"""Settlement: the ledger's answer turns a draft into the decision, with every candidate's fate."""

from collections.abc import Sequence

from decision_engine.candidate_records import record_candidates, scored_offers
from decision_engine.decision import Candidate, Decision, Option, PlacementAnswer
from decision_engine.draft import Draft
from decision_engine.fallback import fallback_cause
from decision_engine.prepared import PreparedStrategy
from decision_engine.reasons import reasons_for
from decision_engine.reservation import lapses_ms, tracking_id
from decision_engine.seating import PlacementSeating, seat_placements
from decision_engine.slate import PlacementSlate


def settle_draft(prepared: PreparedStrategy, draft: Draft, taken: Sequence[int | None]) -> Decision:
    """The final decision. Raises ReservationMismatch when the answer does not fit the draft."""
    request, snapshot = draft.request, draft.snapshot
    scored = scored_offers(prepared, draft)
    candidates: list[Candidate] = []
    answers = []
    seatings = seat_placements(draft.slate, taken, allow_duplicates=request.allow_duplicates)
    for slate, seating in zip(draft.slate, seatings, strict=True):
        recorded = record_candidates(prepared, draft, slate, seating, scored)
        answers.append(_answer(prepared, draft, slate, seating, recorded))
        candidates += recorded
    newest = snapshot.newest_event_ms
    return Decision(
        decision_id=request.decision_id,
        customer_id=request.customer_id,
        now_ms=request.now_ms,
        strategy_version=prepared.strategy.version,
        models=draft.scores.versions,
        arm=draft.arm.value,
        personalised=draft.personalised,
        degraded_causes=tuple(dict.fromkeys(request.degraded_causes + draft.scores.causes)),
        feature_age_ms=None if newest is None else request.now_ms - newest,
        attributes=draft.attributes,
        candidates=tuple(candidates),
        placements=tuple(answers),
        holdings=tuple(sorted(snapshot.holdings)),
        consents=dict(snapshot.consents),
        known=snapshot.known,
        newest_event_ms=newest,
        taken=tuple(taken),
    )


def _answer(
    prepared: PreparedStrategy,
    draft: Draft,
    slate: PlacementSlate,
    seating: PlacementSeating,
    candidates: Sequence[Candidate],
) -> PlacementAnswer:
    if not seating.seated:
        cause = fallback_cause(slate, candidates, draft.request.degraded_causes)
        return PlacementAnswer(id=slate.asked.id, fallback_cause=cause.value)
    request = draft.request
    options = tuple(
        Option(
            tracking_id=tracking_id(request, position),
            candidate=candidates[seat.candidate],
            rank=rank,
            mandatory=prepared.offers[seat.offer].mandatory,
            reasons=reasons_for(prepared.reasons, seat.offer, draft.truth, request.locale)
            if draft.personalised
            else (),
            expires_ms=lapses_ms(prepared, request),
        )
        for rank, (position, seat) in enumerate(seating.seated, start=1)
    )
    return PlacementAnswer(id=slate.asked.id, options=options)
