"""The decision record: the `nbo.decision.made` event as audit record, training row, and all that a replay needs."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from decision_engine.candidate_coding import decode_candidates
from decision_engine.decision import Candidate, Decision, DecisionRequest, Option, PlacementAnswer
from decision_engine.online import UsedBeliefs
from decision_engine.outcomes import Fate
from decision_engine.prepared import PreparedStrategy
from decision_engine.scoring import PRIOR
from decision_engine.volume_view import VolumeStanding
from event_schemas.codec import encode_trusted
from services.ports import ShellError
from services.use_cases.decision_answer import Wording, candidate_fields
from services.use_cases.wire_time import rfc3339

EVENT_TYPE = "nbo.decision.made"
SOURCE = "kairos"
_EXACT_IN_OPTIONS = ("propensity", "priority", "selection_probability")
"""Factors that options carry unrounded."""


class RecordUnreadable(ShellError):
    """The stored record is not one a decision can be explained or recomputed from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionInputs:
    """What the record holds besides the decision itself: who asked what, and the ledger's records as read."""

    client: str
    request_id: str | None
    request: DecisionRequest
    ledger: bytes | None
    feature_layout: str
    took_ms: float


def encode_record(decision: Decision, inputs: DecisionInputs, wording: Wording) -> bytes:
    """The event's bytes."""
    request = inputs.request
    time = rfc3339(decision.now_ms)
    data: dict[str, object] = {
        "decision_id": decision.decision_id,
        "request_id": inputs.request_id,
        "client": inputs.client,
        "customer_id": decision.customer_id,
        "time": time,
        "channel": request.channel,
        "placements_asked": [{"id": asked.id, "count": asked.count} for asked in request.placements],
        "context": request.context,
        "locale": request.locale,
        "allow_duplicates": request.allow_duplicates,
        "strategy_version": decision.strategy_version,
        "models": decision.models,
        "models_failed": decision.failed_models,
        "feature_layout": inputs.feature_layout,
        "arm": decision.arm,
        "experiments": decision.experiments,
        "personalised": decision.personalised,
        "degraded": bool(decision.degraded_causes),
        "degraded_causes": decision.degraded_causes,
        "causes_before": request.degraded_causes,
        "feature_age_ms": decision.feature_age_ms,
        "took_ms": inputs.took_ms,
        "known": decision.known,
        "attributes": decision.attributes,
        "holdings": decision.holdings,
        "consents": decision.consents,
        "ledger": None if inputs.ledger is None else b64encode(inputs.ledger).decode(),
        "volumes": {name: _standing_fields(standing) for name, standing in decision.volumes.items()},
        "quiet_until_ms": decision.quiet_until_ms,
        "taken": decision.taken,
        "coded_candidates": wording.coder.code(decision.candidates),
        "placements": [_placement_fields(placement, wording.fallbacks) for placement in decision.placements],
    }
    if request.held_until_ms is not None:
        data["held_until"] = rfc3339(request.held_until_ms)
    if request.switches:
        data["switches"] = request.switches
    if request.shown:
        data["shown"] = request.shown
    if decision.online is not None:
        data["online"] = _online_fields(decision.online)
    header = {"id": decision.decision_id, "source": SOURCE, "subject": decision.customer_id, "time": time}
    return encode_trusted(EVENT_TYPE, header, data)


def record_data(record: bytes) -> dict[str, object]:
    """The data of a stored record, as written. Raises RecordUnreadable."""
    try:
        data = orjson.loads(record)["data"]
    except (ValueError, TypeError, KeyError) as error:
        raise RecordUnreadable from error
    if not isinstance(data, dict):
        raise RecordUnreadable
    return data


def expanded_record(record: bytes, prepared: PreparedStrategy) -> dict[str, object]:
    """The data with every candidate as an object of its own, in place of the coded columns. `prepared` is the strategy
    that decided. Raises RecordUnreadable, CodedCandidatesUnreadable."""
    data = record_data(record)
    coded = data.pop("coded_candidates", None)
    if isinstance(coded, dict):
        exact = _offered_exactly(data)
        data["candidates"] = [_restored(candidate, exact) for candidate in decode_candidates(coded, prepared)]
    return data


def models_used(record: bytes) -> dict[str, str]:
    """Model name to the version that scored, without those that base rates stood in for. Raises RecordUnreadable."""
    used = record_data(record).get("models")
    if not isinstance(used, dict):
        raise RecordUnreadable
    return {name: str(version) for name, version in used.items() if version != PRIOR}


def _offered_exactly(data: Mapping[str, object]) -> dict[tuple[str, str], Mapping[str, object]]:
    """The options by placement and treatment."""
    placements = data.get("placements")
    return {
        (str(placement["id"]), str(option["treatment"])): option
        for placement in (placements if isinstance(placements, list) else [])
        for option in placement.get("options", ())
    }


def _restored(candidate: Candidate, exact: Mapping[tuple[str, str], Mapping[str, object]]) -> dict[str, object]:
    fields = candidate_fields(candidate)
    if candidate.fate is Fate.OFFERED:
        option = exact.get((candidate.placement, candidate.treatment), {})
        fields |= {name: option[name] for name in _EXACT_IN_OPTIONS if name in option}
    return fields


def _standing_fields(standing: VolumeStanding) -> dict[str, object]:
    return {"remaining": standing.remaining, "paced": standing.paced, "price": standing.price}


def _online_fields(used: UsedBeliefs) -> dict[str, object]:
    return {
        "segment": used.segment,
        "as_of_ms": used.as_of_ms,
        "treatments": used.treatments,
        "multipliers": used.multipliers,
        "shapes": used.shapes,
        "base": used.base,
        "versions": used.versions,
    }


def _placement_fields(answer: PlacementAnswer, fallbacks: Mapping[str, str]) -> dict[str, object]:
    if answer.options:
        return {"id": answer.id, "options": [_option_fields(option) for option in answer.options]}
    return {"id": answer.id, "fallback": fallbacks[answer.id], "fallback_cause": answer.fallback_cause}


def _option_fields(option: Option) -> dict[str, object]:
    candidate: Candidate = option.candidate
    return {
        "rank": option.rank,
        "offer": candidate.offer,
        "treatment": candidate.treatment,
        "tracking_id": option.tracking_id,
        "mandatory": option.mandatory,
        "priority": candidate.priority,
        "propensity": candidate.propensity,
        "selection_probability": candidate.selection_probability,
        "reasons": [code for code, _ in option.reasons],
        "expires_at": rfc3339(option.expires_ms),
    }
