"""The pacer: prices scarce resources from recent traffic, and gives back what was held for nothing.

It reads decisions and responses. Holds go into the store together with the offset they were read at, so that a
restart or a second pacer changes nothing twice; prices go onto the control topic, and every node follows them.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from decision_engine.calendar_windows import DAY_MS
from decision_engine.identifiers import OfferName
from decision_engine.pacing import Pace, Period, demand_days, period_at
from decision_engine.prepared import PreparedStrategy
from decision_engine.strategy import VolumeConstraint
from decision_engine.volume import use_of_offer
from event_schemas.codec import DecodeError, Event, decode, encode
from event_schemas.control import PricesSet, ResourcePrices
from event_schemas.decisions import DecisionMade, DecisionRecord
from event_schemas.envelope import epoch_ms
from event_schemas.responses import Response, ResponseRecorded
from event_schemas.topics import CONTROL
from models.dual_prices import PricesUnsolved, price_traffic, smoothed
from services.ports import BusUnavailable, Clock, Delivery, EventPublisher, OutgoingEvent, StoreUnavailable
from services.workers.recent_traffic import RecentTraffic

Partition = tuple[str, int]
GRACE_MS = 60_000
"""A response that came in time may be read a little later."""
REMEMBER_MS = DAY_MS
"""How long a response read before its decision is remembered."""
LEAST_DECISIONS = 50
NEWEST_WEIGHT = 0.7
"""Prices follow the traffic, not its noise."""
_POLL_RECORDS, _POLL_SECONDS, _RETRY_SECONDS = 2_000, 0.5, 1.0
_TAKEN = {"impression": None, "accept": frozenset({"accept", "convert"})}
"""By what a volume is charged on, the outcomes that take its units for good (None: any)."""
_log = logging.getLogger(__name__)


class PacerStream(Protocol):
    """Records of all partitions, and where to read on from."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    def seek(self, positions: Mapping[Partition, int]) -> None: ...

    def assigned(self) -> set[Partition]: ...


@dataclass(frozen=True, slots=True)
class Change:
    """A hold of units of a pool for a tracked option begins, to be released at its deadline; or (None) came true."""

    tracking_id: str
    pool: str
    units: int
    deadline_ms: int | None


class VolumePools(Protocol):
    """Holds and pools in the store. Raises StoreUnavailable."""

    async def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]: ...

    async def apply(
        self, partition: Partition, offsets: tuple[int, int], forget_ms: int, changes: Sequence[Change]
    ) -> int: ...

    async def release(self, until_ms: int) -> int: ...

    async def left(self, pools: Sequence[str]) -> dict[str, int]: ...

    def pool(self, volume: str, period: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PacerTools:
    """What the pacer needs from outside. Prices are made anew every `prices_s` seconds; `on_released` is told how many
    holds ended, `on_prices` of each new set."""

    pools: VolumePools
    publisher: EventPublisher
    clock: Clock
    new_id: Callable[[], str]
    prices_s: float
    on_released: Callable[[int], None] = lambda _: None
    on_prices: Callable[[Mapping[str, float]], None] = lambda _: None


@dataclass(slots=True)
class Pacer:
    """One strategy's volumes."""

    stream: PacerStream
    prepared: PreparedStrategy
    traffic: RecentTraffic
    tools: PacerTools
    _prices: dict[str, float] = field(default_factory=dict)
    _due_s: float = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop. An absent bus or store is waited for; nothing is done twice after it returns."""
        placed = False
        while not stopping.is_set():
            try:
                if not placed:
                    self.stream.seek(await self.tools.pools.offsets(sorted(self.stream.assigned())))
                    placed = True
                await self.step()
            except (BusUnavailable, StoreUnavailable) as error:
                _log.warning("volumes have to wait: %s", error, extra={"action": "pace"})
                placed = False
                await asyncio.sleep(_RETRY_SECONDS)

    async def step(self) -> None:
        """One poll: holds, releases when the log is read to its end, prices when they are due."""
        deliveries = await self.stream.poll(_POLL_RECORDS, _POLL_SECONDS)
        await self._take(deliveries)
        if len(deliveries) < _POLL_RECORDS:
            released = await self.tools.pools.release(self.tools.clock.now_ms() - GRACE_MS)
            if released:
                self.tools.on_released(released)
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._due_s and await self.price():
            self._due_s = now_s + self.tools.prices_s

    async def price(self) -> bool:
        """Solves and publishes; False where there is too little to go by yet."""
        now_ms = self.tools.clock.now_ms()
        sample = self.traffic.sample(now_ms)
        if len(sample) < LEAST_DECISIONS:
            return False
        units = await self._units(now_ms, len(sample))
        try:
            solved = await asyncio.to_thread(price_traffic, sample, units)
        except PricesUnsolved:
            _log.exception("prices stay as they are", extra={"action": "price"})
            return True
        self._prices = smoothed(self._prices, solved.prices, NEWEST_WEIGHT)
        await self._publish(now_ms, len(sample))
        self.tools.on_prices(self._prices)
        return True

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        by_partition: dict[Partition, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            by_partition[delivery.topic, delivery.partition].append(delivery)
        for partition, records in by_partition.items():
            await self._take_partition(partition, records)

    async def _take_partition(self, partition: Partition, records: Sequence[Delivery]) -> None:
        changes: list[Change] = []
        for delivery in records:
            event = _decoded(delivery)
            if isinstance(event, DecisionMade):
                self.traffic.note(event.data)
                changes += self._begun(event.data)
            elif isinstance(event, ResponseRecorded):
                changes += self._answered(event.data)
        offsets = (records[0].offset, records[-1].offset + 1)
        forget_ms = self.tools.clock.now_ms() + REMEMBER_MS
        wanted = await self.tools.pools.apply(partition, offsets, forget_ms, changes)
        if wanted != offsets[1]:
            # Another pacer has read some of these: read on from where it stands.
            self.stream.seek({partition: wanted})

    def _begun(self, record: DecisionRecord) -> list[Change]:
        decided_ms = epoch_ms(record.time)
        changes = []
        for placement in record.placements:
            for option in placement.options:
                lapses_ms = decided_ms if option.expires_at is None else epoch_ms(option.expires_at)
                for volume, pool, units in self._held(option.offer, option.treatment, decided_ms):
                    accept_ms = decided_ms + volume.hold_seconds * 1000
                    deadline_ms = lapses_ms if volume.charged_on == "impression" else accept_ms
                    changes.append(Change(option.tracking_id, pool, units, deadline_ms))
        return changes

    def _answered(self, response: Response) -> list[Change]:
        return [
            Change(response.tracking_id, pool, units, None)
            for volume, pool, units in self._held(response.offer, response.treatment, epoch_ms(response.decided_at))
            if (outcomes := _TAKEN[volume.charged_on]) is None or response.outcome in outcomes
        ]

    def _held(self, offer: str, treatment: str, decided_ms: int) -> list[tuple[VolumeConstraint, str, int]]:
        """The volumes that an option held units of, with the pool and the units."""
        taken = use_of_offer(self.prepared.volumes, OfferName(offer), treatment.split(".")[1])
        held = []
        for volume in self.prepared.strategy.volumes:
            period = period_at(volume, decided_ms, self.prepared.zone)
            if volume.charged_on != "reservation" and volume.id in taken and period is not None:
                held.append((volume, self.tools.pools.pool(volume.id, period.name), taken[volume.id]))
        return held

    async def _units(self, now_ms: int, sampled: int) -> dict[str, float]:
        """Of what is left of each volume, the part that is due to the sampled decisions: each of them stands for so
        many that are still to come in the period."""
        periods = {volume: period_at(volume, now_ms, self.prepared.zone) for volume in self.prepared.strategy.volumes}
        live = [(volume, period) for volume, period in periods.items() if period is not None]
        names = [self.tools.pools.pool(volume.id, period.name) for volume, period in live]
        left = await self.tools.pools.left(names)
        return {
            volume.id: left.get(name, volume.amount) * sampled / max(1.0, self._to_come(period, now_ms))
            for (volume, period), name in zip(live, names, strict=True)
        }

    def _to_come(self, period: Period, now_ms: int) -> float:
        if period.end_ms is None:
            return self.traffic.a_day()
        pace = Pace(zone=self.prepared.zone, hours=self.traffic.hours())
        return self.traffic.a_day() * demand_days(now_ms, period.end_ms, pace)

    async def _publish(self, now_ms: int, decisions: int) -> None:
        strategy = self.prepared.strategy
        computed_at = datetime.fromtimestamp(now_ms / 1000, UTC)
        event = PricesSet(
            id=self.tools.new_id(),
            source="kairos/pacer",
            subject=f"prices:{strategy.name}",
            time=computed_at,
            data=ResourcePrices(
                strategy_version=strategy.version,
                computed_at=computed_at,
                prices=self._prices,
                hours=tuple(self.traffic.hours()),
                decisions=decisions,
            ),
        )
        await self.tools.publisher.publish([OutgoingEvent(topic=CONTROL, key=event.subject, value=encode(event))])


def _decoded(delivery: Delivery) -> Event | None:
    """None for what cannot be read: whoever owns the record reports it."""
    if delivery.value is None:
        return None
    try:
        return decode(delivery.value, delivery.headers)
    except DecodeError:
        return None
