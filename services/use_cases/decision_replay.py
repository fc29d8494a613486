"""Replay: a decision computed again from its record, with the strategy and the models it names."""

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from decision_engine.contact_ledger import ContactRecord, decode_records
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.features.definitions import Value
from decision_engine.identifiers import CustomerId, DecisionId, PlacementId, TreatmentName
from decision_engine.online import OnlineTable, UsedBeliefs, recorded_table
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import FeatureSchema, Matrix, Scorer, Scorers
from decision_engine.scoring import PRIOR
from decision_engine.volume_view import VolumeStanding
from services.ports import ShellError
from services.use_cases.decision_answer import Wording, word
from services.use_cases.decision_record import (
    DecisionInputs,
    RecordUnreadable,
    encode_record,
    models_used,
    record_data,
)
from services.use_cases.wire_time import epoch_ms

LoadScorers = Callable[[Mapping[str, str]], Scorers]
"""The scorers of these versions by model name. Raises ReplayImpossible."""


class ReplayImpossible(ShellError):
    """The strategy or a model the decision was made with is not at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A decision computed again: whether every byte agrees, and the bytes."""

    record: bytes
    recomputed: bytes

    @property
    def identical(self) -> bool:
        """True when the recomputed record is the stored one, byte for byte."""
        return self.record == self.recomputed

    @property
    def first_difference(self) -> int | None:
        """The offset of the first byte that differs."""
        if self.identical:
            return None
        pairs = enumerate(zip(self.record, self.recomputed, strict=False))
        shorter = min(len(self.record), len(self.recomputed))
        return next((place for place, (kept, again) in pairs if kept != again), shorter)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedQuestion:
    """What a decision was asked and saw, from its record: enough to put the same question to another strategy."""

    request: DecisionRequest
    snapshot: CustomerSnapshot
    ledger: Sequence[ContactRecord]
    volumes: Mapping[str, VolumeStanding]
    scorers: Scorers
    """Those given that scored then; a model that failed then fails again."""


def recorded_question(record: bytes, scorers: Scorers) -> RecordedQuestion:
    """The question of a record. Raises RecordUnreadable."""
    data = record_data(record)
    try:
        inputs = _inputs(data)
        return RecordedQuestion(
            request=inputs.request,
            snapshot=_snapshot(data),
            ledger=decode_records(inputs.ledger),
            volumes=_volumes(data),
            scorers=_scorers_of(data, scorers),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadable(f"a field is missing or odd: {error!r}") from error


def replay_decision(record: bytes, prepared: PreparedStrategy, wording: Wording, scorers: Scorers) -> bytes:
    """Computes the decision again from its record and encodes it: the same bytes, unless something is amiss.

    `wording` is the strategy's own. Raises RecordUnreadable, and ReplayImpossible when strategy or models are not those
    of the record.
    """
    data = record_data(record)
    if data.get("strategy_version") != prepared.strategy.version:
        raise ReplayImpossible(f"the decision was made by strategy {data.get('strategy_version')}")
    try:
        used = _mapping(data["models"])
        inputs, snapshot, taken = _inputs(data), _snapshot(data), _taken(data)
        live, volumes = _scorers_of(data, scorers), _volumes(data)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadable(f"a field is missing or odd: {error!r}") from error
    draft = decide(prepared, inputs.request, snapshot, decode_records(inputs.ledger), live, volumes)
    decision = settle(prepared, draft, taken)
    missing = {name: version for name, version in used.items() if decision.models.get(name) != version}
    if missing:
        raise ReplayImpossible(f"models not at hand: {missing}")
    # Which attributes were recorded also depends on models that were live but had nothing to score.
    return encode_record(replace(decision, attributes=snapshot.attributes), inputs, wording)


class Replayer:
    """Replays many decisions: what a strategy or a set of models needs is made ready once.

    `strategy_of` gives a strategy by version, raising StrategyUnknown; `load` the scorers of model versions, raising
    ReplayImpossible.
    """

    def __init__(self, strategy_of: Callable[[str], PreparedStrategy], load: LoadScorers) -> None:
        self._strategy_of = strategy_of
        self._load = load
        self._strategies: dict[str, tuple[PreparedStrategy, Wording]] = {}
        self._scorers: dict[tuple[str, str], Scorer] = {}

    def replay(self, record: bytes) -> Replay:
        """The record beside its recomputation. Raises RecordUnreadable, StrategyUnknown, ReplayImpossible."""
        version = str(record_data(record).get("strategy_version"))
        if version not in self._strategies:
            prepared = self._strategy_of(version)
            self._strategies[version] = prepared, word(prepared.strategy)
        prepared, wording = self._strategies[version]
        scorers = {name: self._scorer(name, used) for name, used in models_used(record).items()}
        return Replay(record=record, recomputed=replay_decision(record, prepared, wording, scorers))

    def _scorer(self, name: str, version: str) -> Scorer:
        found = self._scorers.get((name, version))
        if found is None:
            found = self._scorers[name, version] = self._load({name: version})[name]
        return found


class _Failing:
    """Stands for a model that failed when the decision was made."""

    version = PRIOR
    schema = FeatureSchema(())

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        """Fails again."""
        raise RecordUnreadable(f"{len(matrix)} rows")


def _scorers_of(data: Mapping[str, object], scorers: Scorers) -> dict[str, Scorer]:
    """The models that scored, and those that failed to fail again; what was not there then is not there now."""
    used = _mapping(data["models"])
    chosen = {name: scorer for name, scorer in scorers.items() if used.get(name) == scorer.version}
    return chosen | {str(name): _Failing() for name in _sequence(data["models_failed"])}


def request_of(data: Mapping[str, object]) -> DecisionRequest:
    """The request of a record's data. Raises KeyError, TypeError, ValueError, RecordUnreadable."""
    return _request(data)


def volumes_of(data: Mapping[str, object]) -> dict[str, VolumeStanding]:
    """What was left of the volumes, of a record's data. Raises as `request_of`."""
    return _volumes(data)


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
        held_until_ms=epoch_ms(str(data["held_until"])) if "held_until" in data else None,
        online=_online(data["online"]) if "online" in data else None,
        switches=tuple(str(switch) for switch in _sequence(data.get("switches", []))),
        shown=tuple(str(offer) for offer in _sequence(data.get("shown", []))),
    )


def _online(found: object) -> OnlineTable:
    """The beliefs about treatments that the decision used."""
    used = _mapping(found)
    return recorded_table(
        UsedBeliefs(
            segment=str(used["segment"]),
            as_of_ms=int(str(used["as_of_ms"])),
            treatments=tuple(TreatmentName(str(name)) for name in _sequence(used["treatments"])),
            multipliers=tuple(float(str(number)) for number in _sequence(used["multipliers"])),
            shapes=tuple(float(str(number)) for number in _sequence(used["shapes"])),
            base={},
            versions={},
        )
    )


def _volumes(data: Mapping[str, object]) -> dict[str, VolumeStanding]:
    return {
        name: VolumeStanding(
            remaining=int(str(fields["remaining"])), paced=bool(fields["paced"]), price=float(str(fields["price"]))
        )
        for name, found in _mapping(data["volumes"]).items()
        for fields in (_mapping(found),)
    }


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
