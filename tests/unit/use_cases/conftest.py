"""The small bank for tests of use cases."""

from time import perf_counter
from types import ModuleType
from typing import Any

import pytest

from decision_engine.decision import PlacementRequest
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.record_response import RecordResponse


@pytest.fixture
def bank(small_bank: ModuleType) -> Any:
    return small_bank.Bank()


@pytest.fixture
def make_decision(bank: Any) -> MakeDecision:
    return MakeDecision(
        DecisionPorts(
            live=lambda: bank.live,
            store=bank.store,
            ledger=bank.store,
            publisher=bank.bus,
            clock=bank.clock,
            ids=bank.ids,
            metrics=bank.metrics,
        )
    )


@pytest.fixture
def record_response(bank: Any) -> RecordResponse:
    return RecordResponse(
        store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock, metrics=bank.metrics
    )


@pytest.fixture
def command() -> Any:
    """A question of the mobile bank about `retail:1`; keywords override, `places` are `home_banner:2` and the like."""

    def make(*places: str, **overrides: Any) -> DecisionCommand:
        asked = [place.partition(":") for place in places or ("home_banner:1",)]
        defaults: dict[str, Any] = {
            "client": "app",
            "customer_id": "retail:1",
            "channel": "mobile",
            "placements": tuple(PlacementRequest(id=id_, count=int(count or 1)) for id_, _, count in asked),
            "locale": "en",
            "started_s": perf_counter(),
            "timeout_ms": 1000,
        }
        return DecisionCommand(**(defaults | overrides))

    return make
