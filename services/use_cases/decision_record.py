"""The decision record: the `nbo.decision.made` event as audit record, training row, and all that a replay needs."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import orjson
from numpy.typing import NDArray

from decision_engine.contact_ledger import decode_records
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Candidate, Decision, DecisionRequest, Option, PlacementAnswer, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.features.definitions import Value
from decision_engine.identifiers import CustomerId, DecisionId, PlacementId
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import FeatureSchema, Matrix, Scorer, Scorers
from decision_engine.scoring import PRIOR
from event_schemas.codec import encode_trusted
from services.ports import ShellError
from services.use_cases.decision_answer import Wording, word
from services.use_cases.wire_time import epoch_ms, rfc3339

EVENT_TYPE = "nbo.decision.made"
SOURCE = "kairos"
MODEL_FAILED = "model_failed"


class RecordUnreadable(ShellError):
    """The stored record is not one a decision can be recomputed from."""


class ReplayImpossible(ShellError):
    """The strategy or a model the decision was made with is not at hand."""


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
        "feature_layout": inputs.feature_layout,
        "arm": decision.arm,
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
        "taken": decision.taken,
        "candidates": [wording.candidates.of(candidate) for candidate in decision.candidates],
        "placements": [_placement_fields(placement, wording.fallbacks) for placement in decision.placements],
    }
    header = {"id": decision.decision_id, "source": SOURCE, "subject": decision.customer_id, "time": time}
    return encode_trusted(EVENT_TYPE, header, data)


def replay_decision(record: bytes, prepared: PreparedStrategy, scorers: Scorers) -> bytes:
    """Computes the decision again from its record and encodes it: the same bytes, unless something is amiss.

    Raises RecordUnreadable, and ReplayImpossible when strategy or models are not those of the record.
    """
    data = record_data(record)
    strategy = prepared.strategy
    if data.get("strategy_version") != strategy.version:
        raise ReplayImpossible(f"the decision was made by strategy {data.get('strategy_version')}")
    try:
        used = _mapping(data["models"])
        inputs, snapshot, taken = _inputs(data), _snapshot(data), _taken(data)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadable(f"a field is missing or odd: {error!r}") from error
    draft = decide(prepared, inputs.request, snapshot, decode_records(inputs.ledger), _scorers_of(data, scorers))
    decision = settle(prepared, draft, taken)
    missing = {name: version for name, version in used.items() if decision.models.get(name) != version}
    if missing:
        raise ReplayImpossible(f"models not at hand: {missing}")
    # Which attributes were recorded also depends on models that were live but had nothing to score.
    return encode_record(replace(decision, attributes=snapshot.attributes), inputs, word(strategy))


def record_data(record: bytes) -> dict[str, object]:
    """The data of a stored record. Raises RecordUnreadable."""
    try:
        data = orjson.loads(record)["data"]
    except (ValueError, TypeError, KeyError) as error:
        raise RecordUnreadable from error
    return _mapping(data)


def models_used(record: bytes) -> dict[str, str]:
    """Model name to the version that scored, without those that base rates stood in for. Raises RecordUnreadable."""
    used = _mapping(record_data(record).get("models"))
    return {name: str(version) for name, version in used.items() if version != PRIOR}


class _Failing:
    """Stands for a model that failed when the decision was made."""

    version = PRIOR
    schema = FeatureSchema(())

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        """Fails again."""
        raise RecordUnreadable(f"{len(matrix)} rows")


def _scorers_of(data: Mapping[str, object], scorers: Scorers) -> dict[str, Scorer]:
    """The live models that are those of the record; a model that failed then fails again."""
    used = _mapping(data["models"])
    chosen: dict[str, Scorer] = {
        name: scorer for name, scorer in scorers.items() if used.get(name, scorer.version) == scorer.version
    }
    if MODEL_FAILED in _sequence(data["degraded_causes"]):
        chosen |= {name: _Failing() for name, version in used.items() if version == PRIOR}
    return chosen


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


def _inputs(data: Mapping[str, object]) -> DecisionInputs:
    ledger = data["ledger"]
    request_id = data["request_id"]
    return DecisionInputs(
        client=str(data["client"]),
        request_id=None if request_id is None else str(request_id),
        request=_request(data),
        ledger=None if ledger is None else b64decode(str(ledger)),
        feature_layout=str(data["feature_layout"]),
        took_ms=float(str(data["took_ms"])),
    )


def _taken(data: Mapping[str, object]) -> list[int | None]:
    return [None if index is None else int(str(index)) for index in _sequence(data["taken"])]


def _request(data: Mapping[str, object]) -> DecisionRequest:
    asked = [_mapping(placement) for placement in _sequence(data["placements_asked"])]
    return DecisionRequest(
        decision_id=DecisionId(str(data["decision_id"])),
        customer_id=CustomerId(str(data["customer_id"])),
        channel=str(data["channel"]),
        placements=tuple(PlacementRequest(id=PlacementId(str(p["id"])), count=int(str(p["count"]))) for p in asked),
        now_ms=epoch_ms(str(data["time"])),
        context=_values(data["context"]),
        locale=str(data["locale"]),
        allow_duplicates=bool(data["allow_duplicates"]),
        degraded_causes=tuple(str(cause) for cause in _sequence(data["causes_before"])),
    )


def _snapshot(data: Mapping[str, object]) -> CustomerSnapshot:
    age = data["feature_age_ms"]
    return CustomerSnapshot(
        known=bool(data["known"]),
        attributes=_values(data["attributes"]),
        holdings=frozenset(str(name) for name in _sequence(data["holdings"])),
        consents={name: bool(granted) for name, granted in _mapping(data["consents"]).items()},
        newest_event_ms=None if age is None else epoch_ms(str(data["time"])) - int(str(age)),
    )


def _values(found: object) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, value in _mapping(found).items():
        if not isinstance(value, bool | int | float | str):
            raise TypeError(name)
        values[name] = value
    return values


def _mapping(found: object) -> dict[str, object]:
    if not isinstance(found, dict):
        raise RecordUnreadable
    return found


def _sequence(found: object) -> list[object]:
    if not isinstance(found, list):
        raise RecordUnreadable
    return found
