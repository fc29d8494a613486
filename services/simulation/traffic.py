"""Live traffic for a running deployment: the simulated bank's events on the bus, its customers at the API.

Event time runs faster than the clock on the wall: a simulated day takes `day_seconds`. It begins with a burst of
history, so that windows are full before the first customer comes.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

import httpx

from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.ports import BusUnavailable, OutgoingEvent
from services.simulation.asking import Asking
from services.simulation.bank import BankConfig, BankStream, SimulatedDay
from services.simulation.traffic_stats import TrafficStats
from services.simulation.truth import ResponseModel
from services.simulation.visitor import Visitors
from services.simulation.visits import Visit

__all__ = ["TrafficConfig", "TrafficStats", "run_demo_traffic"]

PUBLISH_BATCH = 2_000
TICK_SECONDS = 0.05
RETRY_SECONDS = 0.5
CATCH_UP_SECONDS = 180.0
FIRST_HOUR = 8.0
"""The first live day is entered in the morning: whoever starts the demonstration should not wait through a night."""
DAY_MS = 86_400_000
REQUEST_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficConfig:
    """Where the deployment is, which bank comes to it, and how fast.

    `start` is the first day of the history (default: so long ago that history ends today); `visits_per_second` the
    most visits begun a second, `concurrency` the most under way at once.
    """

    api_url: str
    bootstrap_servers: str
    strategy_path: Path
    customers: int = 2_000
    companies: int = 50
    seed: int = 1
    history_days: int = 60
    day_seconds: float = 60.0
    visits_per_second: float = 40.0
    concurrency: int = 16
    start: date | None = None
    api_key: str | None = None
    idempotence: bool = False
    """Whether the broker knows idempotent producers; embedded ones do not, and event ids make repeats harmless."""

    @property
    def first_day(self) -> date:
        """The first day of the history."""
        return self.start or datetime.now(UTC).date() - timedelta(days=self.history_days)


async def run_demo_traffic(config: TrafficConfig, stats: TrafficStats, stop: asyncio.Event) -> None:
    """Publishes history, then lives day after day until `stop`. A bus or an API that is away is waited for."""
    strategy = load_strategy_file(config.strategy_path)
    stream = BankStream(
        BankConfig(seed=config.seed, customers=config.customers, companies=config.companies, start=config.first_day)
    )
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            KafkaEventPublisher(config.bootstrap_servers, idempotence=config.idempotence)
        )
        client = await stack.enter_async_context(_client(config))
        visitors = Visitors(
            client=client,
            asking=Asking(strategy),
            people=stream.people,
            truth=ResponseModel(strategy.offers, config.seed),
            offers={str(offer.name): offer for offer in strategy.offers},
            zone=ZoneInfo(strategy.time_zone),
            stats=stats,
            seed=config.seed,
        )
        traffic = _Traffic(config, stream, publisher, visitors, stop)
        await traffic.publish_history()
        await traffic.wait_until_applied()
        await traffic.live()


class _Traffic:
    """One run: what is published, and the visits under way."""

    def __init__(
        self,
        config: TrafficConfig,
        stream: BankStream,
        publisher: KafkaEventPublisher,
        visitors: Visitors,
        stop: asyncio.Event,
    ) -> None:
        self._config = config
        self._stream = stream
        self._publisher = publisher
        self._visitors = visitors
        self._stop = stop
        self._stats = visitors.stats
        self._under_way: set[asyncio.Task[None]] = set()
        self._resume_at = 0.0
        self._tokens = 0.0

    async def publish_history(self) -> None:
        """All days before the live ones, as fast as the bus takes them."""
        self._stats.phase = "history"
        for _ in range(self._config.history_days):
            if self._stop.is_set():
                return
            day = await asyncio.to_thread(self._stream.next_day)
            await self._publish([timed.event for timed in day.events])
            self._stats.simulated_ms = day.events[-1].at_ms if day.events else self._stats.simulated_ms

    async def wait_until_applied(self) -> None:
        """Waits until the deployment's clock has reached the end of the history, so that nobody is decided about on
        half a history; not for ever, because the state builder may be away."""
        self._stats.phase = "catching up"
        deadline = monotonic() + CATCH_UP_SECONDS
        while not self._stop.is_set() and monotonic() < deadline:
            try:
                reached = await self._visitors.clock_ms("mobile")
            except httpx.HTTPError:
                reached = 0
            if reached is None or reached >= self._stats.simulated_ms:
                return
            await _sleep(self._stop, RETRY_SECONDS)

    async def live(self) -> None:
        """Day after day at the configured pace, until stopped; visits under way are ended first."""
        self._stats.phase = "live"
        following = asyncio.create_task(asyncio.to_thread(self._stream.next_day))
        origin = monotonic() - FIRST_HOUR / 24 * self._config.day_seconds
        while not self._stop.is_set():
            day = await following
            following = asyncio.create_task(asyncio.to_thread(self._stream.next_day))
            await self._live_day(day, origin)
            origin += self._config.day_seconds
        await following
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _live_day(self, day: SimulatedDay, origin: float) -> None:
        start_ms = day.start_ms
        events, visits = _Due(day.events), _Due(day.visits)
        last_tick = monotonic()
        while not self._stop.is_set():
            now = monotonic()
            passed = (now - origin) / self._config.day_seconds
            self._stats.simulated_ms = start_ms + int(min(passed, 1.0) * DAY_MS)
            await self._publish([timed.event for timed in events.until(self._stats.simulated_ms)])
            self._admit(visits.until(self._stats.simulated_ms), now - last_tick)
            last_tick = now
            if passed >= 1.0:
                return
            await _sleep(self._stop, TICK_SECONDS)

    def _admit(self, visits: Sequence[Visit], elapsed_s: float) -> None:
        """Begins as many visits as rate and concurrency allow; the others stay at home."""
        self._tokens = min(self._tokens + elapsed_s * self._config.visits_per_second, self._config.visits_per_second)
        for visit in visits:
            away = monotonic() < self._resume_at
            if away or self._tokens < 1 or len(self._under_way) >= self._config.concurrency:
                self._stats.visits_skipped += 1
                continue
            self._tokens -= 1
            task = asyncio.create_task(self._visit(visit))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _visit(self, visit: Visit) -> None:
        try:
            opened = await self._visitors.visit(visit)
        except httpx.HTTPStatusError as error:
            self._stats.note_error(f"{error.response.status_code} from {error.request.url.path}")
            if error.response.status_code in (429, 503):
                self._resume_at = monotonic() + _retry_after(error.response)
        except httpx.HTTPError as error:
            self._stats.note_error(f"the API is away: {type(error).__name__}")
            self._resume_at = monotonic() + RETRY_SECONDS
        else:
            if opened is not None:
                await self._publish([opened])

    async def _publish(self, events: Sequence[OutgoingEvent]) -> None:
        for start in range(0, len(events), PUBLISH_BATCH):
            batch = events[start : start + PUBLISH_BATCH]
            while not self._stop.is_set():
                try:
                    await self._publisher.publish(batch)
                except BusUnavailable as error:
                    self._stats.note_error(str(error))
                    await _sleep(self._stop, RETRY_SECONDS)
                else:
                    self._stats.note_events(len(batch))
                    break


class _Timed(Protocol):
    """Something that happens at a moment, epoch milliseconds."""

    @property
    def at_ms(self) -> int: ...


_Happening = TypeVar("_Happening", bound=_Timed)


class _Due(Generic[_Happening]):
    """A day's happenings, in time order, given out as they become due."""

    def __init__(self, happenings: Sequence[_Happening]) -> None:
        self._happenings, self._next = happenings, 0

    def until(self, now_ms: int) -> Sequence[_Happening]:
        """Those that have become due and were not given out before."""
        start = self._next
        while self._next < len(self._happenings) and self._happenings[self._next].at_ms <= now_ms:
            self._next += 1
        return self._happenings[start : self._next]


def _client(config: TrafficConfig) -> httpx.AsyncClient:
    headers = {"X-API-Key": config.api_key} if config.api_key else {}
    limits = httpx.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency)
    return httpx.AsyncClient(
        base_url=config.api_url, headers=headers, timeout=REQUEST_TIMEOUT_SECONDS, limits=limits, trust_env=False
    )


def _retry_after(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("Retry-After", RETRY_SECONDS))
    except ValueError:
        return RETRY_SECONDS


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Sleeps, but no longer than until the stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
