"""What was asked on the recorded day and what was answered, from the decision records."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from decision_engine.contact_ledger import ContactRecord, decode_records
from decision_engine.decision import DecisionRequest
from decision_engine.scoring import PRIOR
from decision_engine.volume_view import VolumeStanding
from services.use_cases.decision_record import RecordUnreadable, record_data
from services.use_cases.decision_replay import request_of, volumes_of


@dataclass(frozen=True, slots=True)
class RecordedOption:
    """An option as it was offered. `chance` is that of standing where it stood, None for what no lottery placed."""

    tracking_id: str
    rank: int
    offer: str
    treatment: str
    mandatory: bool
    propensity: float | None
    chance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request of the day. `ledger` are the customer's contacts as read then, None where they could not be;
    `models` the versions that scored; `prices` what a unit of a volume was worth."""

    request: DecisionRequest
    strategy_version: str
    ledger: tuple[ContactRecord, ...] | None
    models: tuple[tuple[str, str], ...]
    options: tuple[RecordedOption, ...]
    prices: Mapping[str, float]


def read_request(value: bytes) -> RecordedRequest:
    """The request of a decision record. Raises RecordUnreadable."""
    data = record_data(value)
    try:
        ledger = data["ledger"]
        return RecordedRequest(
            request=request_of(data),
            strategy_version=str(data["strategy_version"]),
            ledger=None if ledger is None else decode_records(b64decode(str(ledger))),
            models=_models(data["models"]),
            options=_options(data["placements"]),
            prices=_prices(volumes_of(data)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadable(f"a field is missing or odd: {error!r}") from error


def _models(found: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, dict):
        raise TypeError("models")
    return tuple(sorted((str(name), str(version)) for name, version in found.items()))


def _prices(volumes: Mapping[str, VolumeStanding]) -> dict[str, float]:
    return {name: standing.price for name, standing in volumes.items() if standing.price > 0}


def _options(found: object) -> tuple[RecordedOption, ...]:
    if not isinstance(found, list):
        raise TypeError("placements")
    return tuple(
        RecordedOption(
            str(option["tracking_id"]),
            int(option["rank"]),
            str(option["offer"]),
            str(option["treatment"]),
            bool(option.get("mandatory")),
            option["propensity"],
            option["selection_probability"],
        )
        for placement in found
        for option in placement.get("options", ())
    )


def with_live_models(requests: Sequence[RecordedRequest]) -> list[RecordedRequest]:
    """A record names no version where nothing was to be scored, or base rates stood in for the customer's arm; what
    was live then is what scored last."""
    live: dict[str, str] = {}
    found = []
    for each in requests:
        live.update({name: version for name, version in each.models if version != PRIOR})
        found.append(replace(each, models=tuple(sorted({**dict(each.models), **live}.items()))))
    return found
