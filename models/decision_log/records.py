"""The decision log as the archive keeps it: decisions and responses, decoded with the published schemas."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from decision_engine.candidate_coding import CodedCandidatesUnreadable, decode_candidates
from decision_engine.decision import Candidate
from decision_engine.outcomes import Outcome
from decision_engine.prepared import PreparedStrategy
from event_schemas.codec import DecodeError, decode
from event_schemas.decisions import CandidateRecord, DecisionMade, DecisionRecord
from event_schemas.envelope import epoch_ms
from event_schemas.responses import ResponseRecorded
from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import EVERYTHING, TimeRange, archive_files, read_rows
from models.decision_log.examples import LoggedCandidate, LoggedDecision, LoggedOption, LoggedResponse

StrategyOf = Callable[[str], PreparedStrategy | None]
"""The strategy of a version; None when it is not kept, and then its decisions are read without their candidates."""


def read_responses(root: Path, wanted: TimeRange = EVERYTHING) -> Iterator[LoggedResponse]:
    """Every readable response of the archive, repeats included."""
    for value in _values(root, RESPONSES, wanted, None):
        response = logged_response(value)
        if response is not None:
            yield response


def read_decisions(
    root: Path,
    wanted: TimeRange = EVERYTHING,
    decision_ids: Collection[str] | None = None,
    strategy_of: StrategyOf | None = None,
) -> Iterator[LoggedDecision]:
    """Every readable decision of the archive; only those of these ids when they are given. Candidates are read with
    the strategies that named them."""
    for value in _values(root, DECISIONS, wanted, decision_ids):
        decision = logged_decision(value, strategy_of)
        if decision is not None:
            yield decision


def logged_response(value: bytes) -> LoggedResponse | None:
    """A response as learning sees it; None for bytes that are no response."""
    try:
        event = decode(value)
    except DecodeError:
        return None
    if not isinstance(event, ResponseRecorded):
        return None
    return LoggedResponse(
        response_id=event.data.response_id,
        tracking_id=event.data.tracking_id,
        decision_id=event.data.decision_id,
        outcome=Outcome(event.data.outcome),
        at_ms=epoch_ms(event.data.time),
    )


def logged_decision(value: bytes, strategy_of: StrategyOf | None = None) -> LoggedDecision | None:
    """A decision as learning sees it; None for bytes that are no decision."""
    try:
        event = decode(value)
    except DecodeError:
        return None
    if not isinstance(event, DecisionMade):
        return None
    record = event.data
    return LoggedDecision(
        decision_id=record.decision_id,
        customer_id=record.customer_id,
        decided_ms=epoch_ms(record.time),
        channel=record.channel,
        arm=record.arm,
        experiments=dict(record.experiments),
        holdings=frozenset(record.holdings),
        personalised=record.personalised,
        models=dict(record.models),
        attributes=dict(record.attributes),
        context=dict(record.context),
        options=_options(record),
        candidates=_candidates(record, strategy_of),
    )


def _options(record: DecisionRecord) -> tuple[LoggedOption, ...]:
    return tuple(
        LoggedOption(
            tracking_id=option.tracking_id,
            placement=placement.id,
            rank=option.rank,
            offer=option.offer,
            treatment=option.treatment,
            mandatory=option.mandatory,
            propensity=option.propensity,
            selection_probability=option.selection_probability,
        )
        for placement in record.placements
        for option in placement.options
    )


def _candidates(record: DecisionRecord, strategy_of: StrategyOf | None) -> tuple[LoggedCandidate, ...]:
    """The scored ones, whichever way the record has them."""
    listed: Sequence[Candidate | CandidateRecord] = record.candidates
    if record.coded_candidates is not None:
        prepared = None if strategy_of is None else strategy_of(record.strategy_version)
        if prepared is None:
            return ()
        try:
            listed = decode_candidates(record.coded_candidates.model_dump(exclude_unset=True), prepared)
        except CodedCandidatesUnreadable:
            return ()
    return tuple(_candidate(candidate) for candidate in listed if candidate.propensity is not None)


def _candidate(candidate: Candidate | CandidateRecord) -> LoggedCandidate:
    weight = 1 + (candidate.context_weight or 0.0) / 100
    lever = 1 + (candidate.lever or 0.0) / 100
    return LoggedCandidate(
        placement=candidate.placement,
        offer=candidate.offer,
        treatment=candidate.treatment,
        propensity=candidate.propensity or 0.0,
        boost=weight * float(candidate.value or 0) * lever,
        cost=candidate.resource_cost or 0.0,
        selection_probability=candidate.selection_probability,
    )


def _values(root: Path, topic: str, wanted: TimeRange, decision_ids: Collection[str] | None) -> Iterator[bytes]:
    for file in archive_files(root, topic, wanted):
        for row in read_rows(file, ("time", "decision_id", "value")):
            moment, value = row["time"], row["value"]
            if not isinstance(value, str) or not wanted.includes(moment if isinstance(moment, datetime) else None):
                continue
            if decision_ids is None or row["decision_id"] in decision_ids:
                yield value.encode()
