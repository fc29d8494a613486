"""Signals on companies: a closed vocabulary, and the open one of the version before."""

import orjson
import pytest

from event_schemas.business_signals import SIGNAL_KINDS, SignalType
from event_schemas.codec import Event, MalformedEvent, decode


def raised(version: int | None, **data: object) -> Event:
    event = {
        "specversion": "1.0",
        "id": "s-1",
        "type": "bank.business.signal",
        "source": "signal-desk",
        "subject": "corp:91",
        "time": "2026-11-21T09:30:00Z",
        "datacontenttype": "application/json",
        "data": {"signal": "bid_won", "grade": "A", "direction": "positive"} | data,
    }
    if version is not None:
        event["dataschema"] = f"x/bank.business.signal/{version}"
    return decode(orjson.dumps(event))


def test_there_are_seventy_types_and_more_all_of_them_described() -> None:
    assert len(SignalType) >= 70
    assert set(SIGNAL_KINDS) == set(SignalType)
    assert all(kind.zh and kind.en and kind.valid_days >= 30 for kind in SIGNAL_KINDS.values())
    assert {kind.grade for kind in SIGNAL_KINDS.values()} == {"A", "B", "C", "D"}


@pytest.mark.parametrize("kind", SignalType)
def test_every_type_is_read_with_its_usual_grade_and_direction(kind: SignalType) -> None:
    usual = SIGNAL_KINDS[kind]
    event = raised(2, signal=kind.value, grade=usual.grade, direction=usual.direction)
    assert event.model_dump()["data"]["signal"] == kind.value


def test_a_word_outside_the_vocabulary_is_refused_by_name() -> None:
    with pytest.raises(MalformedEvent, match="signal"):
        raised(2, signal="bid_woon")


def test_a_direction_that_contradicts_the_type_is_refused() -> None:
    with pytest.raises(MalformedEvent, match="direction"):
        raised(2, signal="lawsuit", direction="positive")


@pytest.mark.parametrize(
    ("signal", "direction", "read_as"),
    [
        ("bid_won", "positive", ("bid_won", "positive")),
        ("rail_contract", "positive", ("other_positive", "positive")),
        ("boycott", "negative", ("other_negative", "negative")),
        ("lawsuit", "positive", ("lawsuit", "negative")),
    ],
)
def test_the_open_words_of_version_one_are_brought_into_the_vocabulary(
    signal: str, direction: str, read_as: tuple[str, str]
) -> None:
    data = raised(1, signal=signal, direction=direction).model_dump()["data"]
    assert (data["signal"], data["direction"]) == read_as


@pytest.mark.parametrize("changes", [{"signal": "No Word"}, {"signal": 3}, {"direction": "sideways"}])
def test_what_did_not_fit_version_one_is_malformed(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedEvent):
        raised(1, **changes)
