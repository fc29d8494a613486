"""The traffic's rhythm: history first, then events and visits as they come due, through failures of bus and API."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest

from services.adapters.file_strategy_source import load_strategy_file
from services.ports import BusUnavailable, OutgoingEvent
from services.simulation import traffic as traffic_module
from services.simulation.asking import Asking
from services.simulation.bank import BankConfig, BankStream
from services.simulation.traffic import TrafficConfig, _Traffic
from services.simulation.traffic_stats import TrafficStats
from services.simulation.truth import ResponseModel
from services.simulation.visitor import Visitors

STRATEGY = load_strategy_file(Path(__file__).with_name("small_bank.yaml"))
START = date(2026, 3, 1)


class Bus:
    """Acknowledges everything except the calls it is told to refuse."""

    def __init__(self, refusing: Sequence[int] = ()) -> None:
        self.log: list[OutgoingEvent] = []
        self.calls = 0
        self._refusing = set(refusing)

    async def publish(self, events: Sequence[OutgoingEvent]) -> list[tuple[str, int, int]]:
        self.calls += 1
        if self.calls in self._refusing:
            raise BusUnavailable("the bus is away")
        self.log += events
        return []


def fallback(request: httpx.Request) -> httpx.Response:
    body = orjson.loads(request.content)
    placements = [{"id": p["id"], "fallback": {}, "fallback_cause": "ALL_REJECTED"} for p in body["placements"]]
    return httpx.Response(200, json={"decision_id": "D", "placements": placements})


def traffic(
    bus: Bus, handler: Callable[[httpx.Request], httpx.Response], stop: asyncio.Event, **overrides: object
) -> _Traffic:
    values: dict[str, object] = {
        "api_url": "http://api", "bootstrap_servers": "x:1", "strategy_path": Path("x"), "customers": 40,
        "companies": 0, "history_days": 3, "day_seconds": 0.5, "visits_per_second": 1_000.0, "start": START,
    }  # fmt: skip
    config = TrafficConfig(**{**values, **overrides})  # type: ignore[arg-type]
    stream = BankStream(BankConfig(seed=1, customers=40, start=START))
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://api")
    visitors = Visitors(
        client=client, asking=Asking(STRATEGY), people=stream.people, truth=ResponseModel(STRATEGY.offers, 1),
        offers={str(offer.name): offer for offer in STRATEGY.offers}, zone=ZoneInfo("Asia/Shanghai"),
        stats=TrafficStats(), seed=1,
    )  # fmt: skip
    return _Traffic(config, stream, bus, visitors, stop)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool], stop: asyncio.Event) -> None:
    """Ends the traffic once the condition holds; the test's own timeout bounds the wait."""
    while not condition():
        await asyncio.sleep(0.01)
    stop.set()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(traffic_module, "TICK_SECONDS", 0.01)


async def test_history_is_published_whole_although_the_bus_was_away() -> None:
    bus, stop = Bus(refusing=(1, 3)), asyncio.Event()
    running = traffic(bus, fallback, stop)
    await running.publish_history()
    expected = [
        timed.event for timed in BankStream(BankConfig(seed=1, customers=40, start=START)).events(date(2026, 3, 3))
    ]

    assert bus.log == expected
    assert running._stats.events == len(expected)


async def test_customers_wait_until_the_history_has_been_applied() -> None:
    asked = 0

    def catching_up(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        assert orjson.loads(request.content)["dry_run"] is True
        if asked == 2:
            return httpx.Response(503)
        return httpx.Response(200, json={"time": "2026-03-02T00:00:00Z" if asked < 5 else "2026-03-03T23:59:59.123Z"})

    running = traffic(Bus(), catching_up, asyncio.Event())
    await running.publish_history()
    await running.wait_until_applied()

    assert asked == 5


async def test_live_days_follow_in_order_and_customers_visit() -> None:
    bus, stop = Bus(), asyncio.Event()
    running = traffic(bus, fallback, stop, history_days=0)
    ending = asyncio.create_task(until(lambda: running._stats.decisions > 30 and len(bus.log) > 500, stop))
    await running.live()
    await ending
    whole = [
        timed.event for timed in BankStream(BankConfig(seed=1, customers=40, start=START)).events(date(2026, 4, 1))
    ]

    assert bus.log == whole[: len(bus.log)]
    assert running._stats.fallbacks == running._stats.decisions


async def test_an_api_that_restarts_costs_visits_but_not_the_traffic() -> None:
    calls = 0

    def restarting(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls <= 5:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(503) if calls == 6 else fallback(request)

    bus, stop = Bus(), asyncio.Event()
    running = traffic(bus, restarting, stop, history_days=0)
    ending = asyncio.create_task(until(lambda: running._stats.decisions > 10, stop))
    await running.live()
    await ending

    assert running._stats.errors >= 2
    assert running._stats.visits_skipped > 0


async def test_the_rate_bounds_the_visits() -> None:
    bus, stop = Bus(), asyncio.Event()
    running = traffic(bus, fallback, stop, history_days=0, visits_per_second=2.0)
    asyncio.get_running_loop().call_later(1.5, stop.set)
    await running.live()

    assert 1 <= running._stats.decisions <= 6
    assert running._stats.visits_skipped > 0
