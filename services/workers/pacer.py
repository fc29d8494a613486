"""The pacer: prices scarce resources from recent traffic, gives back what was held for nothing, and tells a store that
has lost data what was handed out.

It reads decisions and responses. What they say goes into the store together with the offset it was read at, so that a
restart or a second pacer changes nothing twice, and a store that lost data shows by its offsets that it did: then the
log is read again, and no volume is leased before its end. Prices go onto the control topic, and every node follows
them.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from decision_engine.calendar_windows import DAY_MS
from decision_engine.pacing import Pace, Period, demand_days, period_at
from decision_engine.prepared import PreparedStrategy
from event_schemas.codec import encode
from event_schemas.control import PricesSet, ResourcePrices
from event_schemas.topics import CONTROL
from models.dual_prices import PricesUnsolved, price_traffic, smoothed
from services.ports import BusUnavailable, Clock, Delivery, EventPublisher, OutgoingEvent, StoreUnavailable
from services.workers.log_place import LogPlace, Partition, PlacedStream
from services.workers.recent_traffic import RecentTraffic
from services.workers.volume_log import Change, VolumeLog

GRACE_MS = 60_000
"""A response that came in time may be read a little later."""
REMEMBER_MS = DAY_MS
"""How long a response read before its decision is remembered."""
LEAST_DECISIONS = 50
NEWEST_WEIGHT = 0.7
"""Prices follow the traffic, not its noise."""
SETTLE_SECONDS = 2.0
"""How long after a store was found to have lost data its volumes stay closed at least: what was decided just before may
still be on its way onto the bus."""
_LOOK_SECONDS = 0.5
"""How often at most the store is asked whether it still has what it had."""
_POLL_RECORDS, _POLL_SECONDS, _RETRY_SECONDS = 2_000, 0.5, 1.0
_log = logging.getLogger(__name__)


class PacerStream(PlacedStream, Protocol):
    """Records of all partitions, and where to read on from."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...


@dataclass(frozen=True, slots=True)
class Pool:
    """A volume in the period that is now; `known` where the log reaches back to the period's beginning."""

    pool: str
    amount: int
    ends_ms: int
    known: bool


class VolumePools(Protocol):
    """Holds and pools in the store. Raises StoreUnavailable."""

    async def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]: ...

    async def apply(
        self,
        partition: Partition,
        offsets: tuple[int, int],
        forget_ms: int,
        changes: Sequence[Change],
        handed_out: Mapping[str, int],
    ) -> int: ...

    async def open(self, standing: Mapping[Partition, int], pools: Sequence[Pool]) -> int | None: ...

    async def release(self, until_ms: int) -> int: ...

    async def left(self, pools: Sequence[str]) -> dict[str, int]: ...

    def pool(self, volume: str, period: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PacerTools:
    """What the pacer needs from outside. Prices are made anew every `prices_s` seconds; `on_released` is told how many
    holds ended, `on_prices` of each new set, `on_corrected` how many units a pool had that were handed out already."""

    pools: VolumePools
    publisher: EventPublisher
    clock: Clock
    new_id: Callable[[], str]
    prices_s: float
    on_released: Callable[[int], None] = lambda _: None
    on_prices: Callable[[Mapping[str, float]], None] = lambda _: None
    on_corrected: Callable[[int], None] = lambda _: None
    settle_s: float = SETTLE_SECONDS


@dataclass(slots=True)
class Pacer:
    """One strategy's volumes."""

    stream: PacerStream
    prepared: PreparedStrategy
    traffic: RecentTraffic
    tools: PacerTools
    _place: LogPlace | None = None
    """None while it is not known where the store stands."""
    _prices: dict[str, float] = field(default_factory=dict)
    _due_s: float = 0.0
    _look_s: float = 0.0
    _volume_log: VolumeLog = field(init=False)

    def __post_init__(self) -> None:
        self._volume_log = VolumeLog(self.prepared, self.tools.clock, self.tools.pools.pool, self.traffic.note)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop. An absent bus or store is waited for; nothing is done twice after it returns."""
        while not stopping.is_set():
            try:
                await self.step()
            except (BusUnavailable, StoreUnavailable) as error:
                _log.warning("volumes have to wait: %s", error, extra={"action": "pace"})
                self._place = None
                await asyncio.sleep(_RETRY_SECONDS)

    async def step(self) -> None:
        """One poll: what it says, at the log's end what follows, prices when they are due."""
        place = self._place or await self._go_where_the_store_stands()
        deliveries = await self.stream.poll(_POLL_RECORDS, _POLL_SECONDS)
        await self._take(place, deliveries)
        if self._place is place and len(deliveries) < _POLL_RECORDS and place.at_end():
            await self._release()
            await self._open(place)
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._due_s and await self.price():
            self._due_s = now_s + self.tools.prices_s

    async def _go_where_the_store_stands(self) -> LogPlace:
        place = LogPlace(self.stream)
        await place.put(await self.tools.pools.offsets(sorted(self.stream.assigned())))
        self._volume_log.start_over()
        self._look_s = 0.0
        self._place = place
        return place

    def _lost(self) -> None:
        _log.error(
            "the store has lost what was handed out of the volumes: reading the log again",
            extra={"action": "none while the log reaches back; look into why the store lost writes"},
        )
        self._place = None

    async def _release(self) -> None:
        released = await self.tools.pools.release(self.tools.clock.now_ms() - GRACE_MS)
        if released:
            self.tools.on_released(released)

    async def _open(self, place: LogPlace) -> None:
        """Corrects the pools by the log, and lets them be leased if they were not. In a store that lost nothing this
        changes nothing."""
        now_s = asyncio.get_running_loop().time()
        if place.seconds() < self.tools.settle_s or now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_SECONDS
        taken = await self.tools.pools.open(place.standing, self._pools(self.tools.clock.now_ms()))
        if taken is None:
            self._lost()
        elif taken:
            _log.warning("%d units were handed out that the store had as left", taken, extra={"action": "correct"})
            self.tools.on_corrected(taken)

    def _pools(self, now_ms: int) -> list[Pool]:
        pools = []
        for volume in self.prepared.strategy.volumes:
            period = period_at(volume, now_ms, self.prepared.zone)
            if period is not None:
                name = self.tools.pools.pool(volume.id, period.name)
                ends_ms = now_ms if period.end_ms is None else period.end_ms
                pools.append(Pool(name, volume.amount, ends_ms, self._volume_log.reaches_back(period)))
        return pools

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

    async def _take(self, place: LogPlace, deliveries: Sequence[Delivery]) -> None:
        by_partition: dict[Partition, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            by_partition[delivery.topic, delivery.partition].append(delivery)
        for partition, records in by_partition.items():
            if self._place is place:
                await self._take_partition(place, partition, records)

    async def _take_partition(self, place: LogPlace, partition: Partition, records: Sequence[Delivery]) -> None:
        standing = place.standing.get(partition, 0)
        if standing == 0:
            self._volume_log.note_beginning(records)
        batch = self._volume_log.read(partition, records)
        offsets = (standing, records[-1].offset + 1)
        forget_ms = self.tools.clock.now_ms() + REMEMBER_MS
        wanted = await self.tools.pools.apply(partition, offsets, forget_ms, batch.changes, batch.handed_out)
        if wanted == offsets[1]:
            place.move(partition, wanted)
            self._volume_log.remember(batch)
        elif wanted > standing:
            # Another pacer has read some of these: read on from where it stands.
            place.skip(partition, wanted)
        else:
            self._lost()

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
