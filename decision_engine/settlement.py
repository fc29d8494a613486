"""Settlement: the ledger's answer turns a draft into the decision, with every candidate's fate."""

from collections.abc import Sequence
from itertools import count

from decision_engine.candidate_records import CandidateRecords
from decision_engine.decision import Decision, Option, PlacementAnswer
from decision_engine.draft import Draft
from decision_engine.fallback import fallback_cause
from decision_engine.kill_switches import stops_everything
from decision_engine.online import OnlineUse, UsedBeliefs, used_beliefs
from decision_engine.prepared import PreparedStrategy
from decision_engine.quiet_hours import quiet_until_ms
from decision_engine.reasons import reasons_for
from decision_engine.reservation import lapses_ms, tracking_id
from decision_engine.seating import PlacementSeating, seat_placements
from decision_engine.slate import PlacementSlate


def settle_draft(prepared: PreparedStrategy, draft: Draft, taken: Sequence[int | None]) -> Decision:
    """The final decision. Raises ReservationMismatch when the answer does not fit the draft."""
    request, snapshot = draft.request, draft.snapshot
    seatings = seat_placements(draft.slate, taken, allow_duplicates=draft.reservation.allow_duplicates)
    candidates = CandidateRecords(prepared, draft, seatings)
    newest = snapshot.newest_event_ms
    placements = _answers(prepared, draft, seatings, candidates)
    return Decision(
        decision_id=request.decision_id,
        customer_id=request.customer_id,
        now_ms=request.now_ms,
        strategy_version=prepared.strategy.version,
        models=draft.scores.versions,
        failed_models=draft.scores.failed,
        arm=draft.trial.arm.value,
        experiments=draft.trial.experiments,
        personalised=draft.personalised,
        degraded_causes=tuple(dict.fromkeys(request.degraded_causes + draft.scores.causes)),
        feature_age_ms=None if newest is None else request.now_ms - newest,
        attributes=draft.attributes,
        candidates=candidates,
        placements=placements,
        holdings=tuple(sorted(snapshot.holdings)),
        consents=dict(snapshot.consents),
        known=snapshot.known,
        newest_event_ms=newest,
        taken=tuple(taken),
        quiet_until_ms=quiet_until_ms(prepared.quiet, request.channel, request.now_ms),
        volumes=draft.volumes,
        online=None if draft.scores.online is None else _used(prepared, draft.scores.online, placements),
    )


def _used(prepared: PreparedStrategy, use: OnlineUse, placements: Sequence[PlacementAnswer]) -> UsedBeliefs:
    offered = [option.candidate.offer for placement in placements for option in placement.options]
    numbers = {offer.name: number for number, offer in enumerate(prepared.offers)} if offered else {}
    return used_beliefs(use, offered, numbers)


def _answers(
    prepared: PreparedStrategy, draft: Draft, seatings: Sequence[PlacementSeating], candidates: CandidateRecords
) -> tuple[PlacementAnswer, ...]:
    return tuple(
        PlacementAnswer(id=slate.asked.id, options=_options(prepared, draft, seating, candidates))
        if seating.seated
        else _fallback(prepared, draft, slate, candidates)
        for slate, seating in zip(draft.slate, seatings, strict=True)
    )


def _fallback(
    prepared: PreparedStrategy, draft: Draft, slate: PlacementSlate, candidates: CandidateRecords
) -> PlacementAnswer:
    stages = candidates.shared_stages(slate.asked.number)
    request = draft.request
    stopped = stops_everything(prepared.switches, request.switches, request.channel)
    cause = fallback_cause(slate, stages, request.degraded_causes, stopped=stopped)
    return PlacementAnswer(id=slate.asked.id, fallback_cause=cause.value)


def _options(
    prepared: PreparedStrategy, draft: Draft, seating: PlacementSeating, candidates: CandidateRecords
) -> tuple[Option, ...]:
    request, offers, made = draft.request, prepared.offers, candidates.offered(seating)
    locale, expires_ms = request.locale, lapses_ms(prepared, request)
    return tuple([
        Option(
            tracking_id=tracking_id(request, position),
            candidate=candidate,
            rank=rank,
            mandatory=offers[seat.offer].mandatory,
            reasons=reasons_for(prepared.reasons, seat.offer, draft.truth, locale) if draft.personalised else (),
            expires_ms=expires_ms,
        )
        for rank, (position, seat), candidate in zip(count(1), seating.seated, made, strict=False)
    ])  # fmt: skip
