"""This node's lease of the bank's volumes in Redis or Valkey.

Units are taken from the shared pools in chunks, ahead of need and off the decision's path; a decision charges its own
node's chunk in memory. Before anything is handed out its charge is put on record in the node's own lease, in the same
turn of the loop in which the contact is reserved, so it costs no further round trip and meets no key that other
nodes write. A node that dies leaves a lease that lapses: what it had on record is gone, all the rest returns.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from time import monotonic
from types import TracebackType
from typing import Self
from zoneinfo import ZoneInfo

from decision_engine.pacing import EVEN_HOURS, HOURS, HourShares, Pace, Period, allowed_units, faded, period_at
from decision_engine.strategy import VolumeConstraint
from decision_engine.volume import VolumePlan
from decision_engine.volume_view import VolumeStanding, VolumeUse, VolumeView
from event_schemas.codec import Event
from event_schemas.control import PricesSet
from event_schemas.envelope import epoch_ms
from services.adapters.redis_client import Argument, RedisClient, Reply, ReplyError
from services.ports import Clock, Metrics, StoreUnavailable, VolumeHold
from services.use_cases.running_beside import running_beside

VOLUME_LIBRARY = files("services.adapters").joinpath("redis_volume_functions.lua").read_text("utf-8")
"""`RedisClient.open(url, library=VOLUME_LIBRARY)`; a library of its own beside the other stores' functions."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VolumeKeys:
    """Names in the store. All share one hash tag: pools and leases change together, in one atomic step."""

    namespace: str

    @property
    def registry(self) -> str:
        """The live leases by the time they lapse."""
        return f"{self.namespace}:{{volumes}}:leases"

    def lease(self, name: str) -> str:
        """One node's lease."""
        return f"{self.namespace}:{{volumes}}:lease:{name}"

    def pool(self, volume: str, period: str) -> str:
        """One volume in one period."""
        return f"{self.namespace}:{{volumes}}:pool:{volume}:{period}"

    @property
    def whole(self) -> str:
        """Present while the pools have everything taken out that the log says was handed out."""
        return f"{self.namespace}:{{volumes}}:whole"

    @property
    def pending(self) -> str:
        """Holds that nothing has come of yet."""
        return f"{self.namespace}:{{volumes}}:pending"

    @property
    def answered(self) -> str:
        """Responses that were read before the decision they answer."""
        return f"{self.namespace}:{{volumes}}:answered"

    @property
    def offsets(self) -> str:
        """How far the log has been read for the holds."""
        return f"{self.namespace}:{{volumes}}:offsets"


IDLE_SECONDS = 30.0
"""Without a decision for so long a node is idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """`chunk` is how many charges' worth a node holds at most; with little left, no node gets more than its part,
    divided by `caution` so that some is left for those who come later. A lease lapses `lapse_s` after its last
    renewal; it is renewed every `renew_s`, and at most every `least_renew_s` when a chunk runs low. A node is idle
    when it has decided nothing for `idle_s`. Prices count in full until `prices_fresh_s` old and fade over as long
    again."""

    chunk: int = 64
    caution: int = 2
    lapse_s: float = 10.0
    renew_s: float = 1.0
    least_renew_s: float = 0.05
    idle_s: float = IDLE_SECONDS
    prices_fresh_s: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """Who leases: a name that no other life of any process has, its clock, the bank's zone, and where to measure."""

    node: str
    clock: Clock
    zone: ZoneInfo
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The price of one unit of each volume, minor units of value, as computed at a moment; and how demand spreads
    over the hours of a day."""

    prices: Mapping[str, float] = field(default_factory=dict)
    computed_ms: int = 0
    hours: HourShares = EVEN_HOURS


@dataclass(slots=True, eq=False)
class _Part:
    """What this node has of one volume in one period: `granted` and `charged` are totals over the lease's life.
    Changes are numbered; `recorded` is the newest that the store is known to have."""

    volume: VolumeConstraint
    pool: str
    period: Period
    largest: int
    granted: int = 0
    charged: int = 0
    sequence: int = 0
    recorded: int = 0
    left: int = 0
    free: int = 0
    fair: int | None = None

    @property
    def remaining(self) -> int:
        """Units that may be charged now."""
        return self.granted - self.charged

    def charge(self, units: int) -> None:
        """Takes units; negative gives back."""
        self.charged += units
        self.sequence += 1

    def wish(self, terms: LeaseTerms, *, active: bool) -> int:
        """The granted total wanted: what is charged, and a chunk on top. An idle node wants enough for one charge, so
        that the next decision finds something, and nothing where others find nothing any more. Neither does one with
        too little for a single charge: another may have the rest of it."""
        dry = self.fair is not None and self.free < self.largest
        if dry and (not active or 0 < self.remaining < self.largest):
            return self.charged
        if not active:
            return self.charged + self.largest
        chunk = terms.chunk * self.largest
        return self.charged + (chunk if self.fair is None else min(chunk, max(self.fair, self.largest)))


@dataclass(frozen=True, slots=True)
class _Hold:
    lease: str
    parts: tuple[tuple[_Part, int], ...]


class RedisVolumeLeases:
    """Implements `ports.VolumeLeases`. Use as an async context manager: entering takes the first chunks, leaving
    returns what is left. While the store is away nothing of a volume can be handed out. Should renewing fail in a way
    nobody foresaw, whoever entered is cancelled and the error raised."""

    def __init__(
        self,
        client: RedisClient,
        keys: VolumeKeys,
        plan: VolumePlan,
        holder: LeaseHolder,
        terms: LeaseTerms | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._leased = _leased(plan)
        self._changed = False
        self._node = holder.node
        self._clock = holder.clock
        self._zone = holder.zone
        self._metrics = holder.metrics
        self._terms = terms or LeaseTerms()
        self._prices = Prices()
        self._incarnation = 0
        self._begun = False
        self._rebuilding = False
        self._parts: dict[str, _Part] = {}
        self._standings: dict[str, VolumeStanding] = {}
        self._exhausted = plan.exhausted
        self._span = (0, 0)
        self._decided_s = monotonic()
        self._wake = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._renew_safely()
        self._open.push_async_callback(self._surrender_safely)
        await self._open.enter_async_context(running_beside(self._keep(), "volume-leases"))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.__aexit__(exc_type, exc, traceback)

    def view(self, now_ms: int) -> VolumeView:
        """What may be handed out now. The mapping changes with every charge; read it before anything is awaited."""
        self._decided_s = monotonic()
        if self._span[0] <= now_ms < self._span[1]:
            return self._standings
        self._wake.set()
        return self._exhausted

    @property
    def rebuilding(self) -> bool:
        """Whether nothing can be handed out because the store does not know what was, and the log is being read."""
        return self._rebuilding

    def hold(self, use: VolumeUse, now_ms: int) -> _Hold | None:
        """Takes all of these units from this node's part, or none."""
        taken = []
        for volume, units in use.items():
            part = self._parts.get(volume)
            if part is None or part.remaining < units or not part.period.contains(now_ms):
                self._wake.set()
                return None
            taken.append((part, units))
        for part, units in taken:
            self._charge(part, units)
            if part.remaining < part.largest * self._terms.chunk // 4:
                self._wake.set()
        return _Hold(self._lease, tuple(taken))

    async def adopt(self, plan: VolumePlan, zone: ZoneInfo) -> None:
        """Leases the volumes of a strategy to come beside those in use; where both have one its terms are the new ones.
        Pools are the bank's, by volume and period, so counts go on. Raises StoreUnavailable."""
        coming = _leased(plan)
        self._changed = self._changed or any(coming.get(name) != terms for name, terms in self._leased.items())
        self._leased = {**self._leased, **coming}
        self._exhausted = {**self._exhausted, **plan.exhausted}
        self._zone = zone
        await self.renew()

    async def release(self, plan: VolumePlan) -> None:
        """Leases this strategy's volumes alone from now on, and returns what is left of the others. Raises
        StoreUnavailable."""
        self._leased, self._exhausted = _leased(plan), plan.exhausted
        if self._changed:
            self._changed = False
            await self.surrender()
            await self.renew()

    def give_back(self, hold: VolumeHold) -> None:
        """Undoes a hold."""
        if isinstance(hold, _Hold):
            for part, units in hold.parts:
                self._charge(part, -units)

    async def commit(self, holds: Sequence[VolumeHold]) -> bool:
        """Whether these holds are on record in the store; if not, their lease has lapsed and they are void."""
        lease = self._lease
        if any(isinstance(hold, _Hold) and hold.lease != lease for hold in holds):
            return False
        news = [(part, part.sequence) for part in self._parts.values() if part.sequence > part.recorded]
        arguments = _triples([part for part, _ in news])
        try:
            reply = await self._client.call("kairos_volume_charge", (self._keys.registry, lease), arguments)
        except ReplyError as error:
            raise StoreUnavailable(f"charges could not be put on record: {error}") from error
        if reply != 1:
            self._lose(lease)
            return False
        for part, sequence in news:
            part.recorded = max(part.recorded, sequence)
        return True

    def set_prices(self, prices: Prices) -> None:
        """Prices newer than those in use take their place."""
        if prices.computed_ms >= self._prices.computed_ms:
            self._prices = prices
            self._refresh()

    async def on_prices(self, event: Event) -> None:
        """Takes over published prices; to be subscribed to the control topic."""
        if isinstance(event, PricesSet):
            data = event.data
            hours = data.hours if len(data.hours) == HOURS and sum(data.hours) > 0 else EVEN_HOURS
            self.set_prices(Prices(prices=data.prices, computed_ms=epoch_ms(data.computed_at), hours=hours))

    async def renew(self) -> None:
        """Puts charges on record, returns what is too much, takes what is short. Raises StoreUnavailable."""
        async with self._renewing:
            now_ms = self._clock.now_ms()
            self._enter_periods(now_ms)
            parts = list(self._parts.values())
            if not parts:
                self._refresh(now_ms)
                return
            lease, begin = self._lease, not self._begun
            arguments = self._lease_arguments(parts, now_ms, begin=begin)
            try:
                keys = (self._keys.registry, lease, self._keys.whole, *(part.pool for part in parts))
                reply = await self._client.call("kairos_volume_lease", keys, arguments)
            except ReplyError as error:
                raise StoreUnavailable(f"volumes could not be leased: {error}") from error
            if lease != self._lease:
                return
            if reply == -1:
                self._lose(lease)
                return
            if reply == -2:
                self._close(lease)
                return
            self._begun, self._rebuilding = True, False
            for part, answer in zip(parts, _answers(reply), strict=True):
                part.granted, part.left, part.free, part.fair = answer
            self._refresh(now_ms)

    async def surrender(self) -> None:
        """Returns everything that was not charged. Raises StoreUnavailable."""
        if self._begun:
            arguments = _triples(list(self._parts.values()))
            lease = self._lease
            self._lose(lease)
            await self._client.call("kairos_volume_surrender", (self._keys.registry, lease), arguments)

    @property
    def _lease(self) -> str:
        return self._keys.lease(f"{self._node}.{self._incarnation}")

    def _charge(self, part: _Part, units: int) -> None:
        part.charge(units)
        standing = self._standings.get(part.volume.id)
        if standing is not None and self._parts.get(part.volume.id) is part:
            self._standings[part.volume.id] = VolumeStanding(part.remaining, standing.paced, standing.price)

    def _lose(self, lease: str) -> None:
        """The lease is gone: what was on record is charged for good, and a new one begins with nothing."""
        if lease != self._lease:
            return
        self._incarnation += 1
        self._begun = False
        self._parts.clear()
        self._refresh()
        self._wake.set()

    def _close(self, lease: str) -> None:
        """The store has lost what was handed out: nothing is, until that has been read from the log again."""
        if not self._rebuilding:
            _log.error("volumes are closed until the pacer has read the log again", extra={"action": "run the pacer"})
        self._rebuilding = True
        self._lose(lease)
        self._wake.clear()  # the next look is by the clock

    def _enter_periods(self, now_ms: int) -> None:
        """Leaves parts behind whose period is over; their pools count no longer."""
        for name in self._parts.keys() - self._leased.keys():
            del self._parts[name]
        for volume, largest in self._leased.values():
            period = period_at(volume, now_ms, self._zone)
            part = self._parts.get(volume.id)
            if period is None or largest == 0:
                self._parts.pop(volume.id, None)
            elif part is None or part.period != period:
                pool = self._keys.pool(volume.id, period.name)
                self._parts[volume.id] = _Part(volume, pool, period, largest)
            else:
                part.volume, part.largest = volume, largest

    def _lease_arguments(self, parts: Sequence[_Part], now_ms: int, *, begin: bool) -> list[Argument]:
        terms, pace = self._terms, self._pace(now_ms)
        active = monotonic() - self._decided_s <= terms.idle_s
        arguments: list[Argument] = [round(terms.lapse_s * 1000), terms.caution, 1 if begin else 0]
        for part in parts:
            wish = part.wish(terms, active=active)
            # Lowered before it is sent: whatever happens to the answer, no more is charged than the store will allow.
            part.granted = min(part.granted, wish)
            allowed = allowed_units(part.volume, part.period, now_ms, pace)
            arguments += (part.volume.amount, allowed, wish, part.charged, part.sequence, part.largest)
            arguments.append(now_ms if part.period.end_ms is None else part.period.end_ms)
        return arguments

    def _pace(self, now_ms: int) -> Pace:
        age_ms = now_ms - self._prices.computed_ms
        priced = bool(self._prices.prices) and age_ms <= self._terms.prices_fresh_s * 1000
        return Pace(zone=self._zone, hours=self._prices.hours, priced=priced)

    def _refresh(self, now_ms: int | None = None) -> None:
        """Makes the view anew."""
        at_ms = self._clock.now_ms() if now_ms is None else now_ms
        age_ms, fresh_ms = at_ms - self._prices.computed_ms, round(self._terms.prices_fresh_s * 1000)
        self._standings = dict(self._exhausted)
        starts, ends = [0], [2**62]
        for name, part in self._parts.items():
            price = faded(self._prices.prices.get(name, 0.0), age_ms, fresh_ms)
            paced = part.left >= part.largest > part.free
            self._standings[name] = VolumeStanding(part.remaining, paced, price)
            self._metrics.gauge("volume_remaining", part.left, resource=name)
            starts.append(part.period.start_ms or 0)
            ends.append(2**62 if part.period.end_ms is None else part.period.end_ms)
        self._span = (max(starts), min(ends))

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._terms.renew_s):
                    await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(max(0.0, began + self._terms.least_renew_s - loop.time()))
            await self._renew_safely()

    async def _renew_safely(self) -> None:
        try:
            await self.renew()
        except StoreUnavailable as error:
            _log.warning("volumes are not leased, trying again: %s", error, extra={"action": "volumes"})

    async def _surrender_safely(self) -> None:
        try:
            await self.surrender()
        except StoreUnavailable as error:
            _log.warning("volumes could not be returned, they lapse: %s", error, extra={"action": "volumes"})


def _leased(plan: VolumePlan) -> dict[str, tuple[VolumeConstraint, int]]:
    """Volume by id, with the most that one charge takes of it."""
    return {volume.id: (volume, most) for volume, most in zip(plan.volumes, plan.largest, strict=True)}


def _triples(parts: Sequence[_Part]) -> list[Argument]:
    return [argument for part in parts for argument in (part.pool, part.charged, part.sequence)]


def _answers(reply: Reply) -> list[tuple[int, int, int, int]]:
    if not isinstance(reply, list):
        raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a list was due")
    answers = []
    for item in reply:
        numbers = [number for number in item if isinstance(number, int)] if isinstance(item, list) else []
        if len(numbers) != 4:
            raise StoreUnavailable("the store answered with something else than four numbers for a volume")
        granted, left, free, fair = numbers
        answers.append((granted, left, free, fair))
    return answers
