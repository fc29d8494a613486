"""A record of the log that is damaged tells the guard nothing, and takes nothing from what the others tell."""

from typing import Any

import orjson
import pytest

from event_schemas.topics import DECISIONS, RESPONSES
from services.ports import Delivery
from services.workers.guard_statistics import Count
from services.workers.guard_window import Counts, GuardWindow, Span

SPAN = Span("v1", 0, 1_000)
WHOLE: dict[str, Any] = {
    "decision_id": "D1", "customer_id": "retail:1", "strategy_version": "v1",
    "placements": [{"options": [{"offer": "gold"}]}], "degraded_causes": [],
}  # fmt: skip
NAMES = ("decision_id", "customer_id", "strategy_version")
DEEP = b"[" * 200_000


def delivery(topic: str, value: bytes | None) -> Delivery:
    return Delivery(topic, 0, 0, b"retail:1", value, (), 10)


def record(**data: Any) -> bytes:
    return orjson.dumps({"data": WHOLE | data})


def counts(window: GuardWindow) -> Counts:
    return window.counts(SPAN, 100, 10, own_faults=False)


@pytest.fixture
def window() -> GuardWindow:
    """One decision that was accepted."""
    window = GuardWindow(10_000)
    window.take_decision(delivery(DECISIONS, record()))
    window.take_response(delivery(RESPONSES, orjson.dumps({"data": {"decision_id": "D1", "outcome": "accept"}})))
    return window


ONE = Counts(degraded=Count(1, 0), fallback=Count(1, 0), acceptance=Count(1, 1))

NO_RECORD = [None, b"", b"\xff\xfe", DEEP, b"7", b'"text"', b"[]", b"{}", b'{"data": null}', b'{"data": [1]}', b'{"da']


@pytest.mark.parametrize("value", NO_RECORD, ids=range(len(NO_RECORD)))
def test_what_is_no_record_tells_nothing(window: GuardWindow, value: bytes | None) -> None:
    window.take_decision(delivery(DECISIONS, value))
    window.take_response(delivery(RESPONSES, value))
    assert counts(window) == ONE


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_decision_that_lacks_a_field_tells_nothing(window: GuardWindow, name: str) -> None:
    data = {key: value for key, value in (WHOLE | {"customer_id": "retail:2"}).items() if key != name}
    window.take_decision(delivery(DECISIONS, orjson.dumps({"data": data})))
    assert counts(window) == ONE


@pytest.mark.parametrize(
    "damage",
    [
        {"placements": 7},
        {"placements": None},
        {"placements": [7]},
        {"placements": [None]},
        {"placements": ["home_banner"]},
        {"placements": "home_banner"},
        {"placements": {"home_banner": {}}},
        {"placements": [["options"]]},
        {"degraded_causes": 7},
        {"degraded_causes": None},
        {"degraded_causes": [["state_slow"]]},
        {"degraded_causes": [{"cause": "state_slow"}]},
        *({name: value} for name in NAMES for value in (7, None, ["retail:2"], {"id": "retail:2"})),
    ],
    ids=str,
)
def test_a_decision_whose_field_is_something_else_tells_nothing(window: GuardWindow, damage: dict[str, Any]) -> None:
    window.take_decision(delivery(DECISIONS, record(**{"decision_id": "D2", "customer_id": "retail:2"} | damage)))
    assert counts(window) == ONE


@pytest.mark.parametrize("outcome", [7, None, ["accept"], {"accept": 1}])
def test_a_response_whose_outcome_is_something_else_is_no_acceptance(outcome: object) -> None:
    window = GuardWindow(10_000)
    window.take_decision(delivery(DECISIONS, record()))
    window.take_response(delivery(RESPONSES, orjson.dumps({"data": {"decision_id": "D1", "outcome": outcome}})))
    assert counts(window).acceptance == Count(1, 0)
