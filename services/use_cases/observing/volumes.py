"""How the bank's volumes stand: what each pool has handed out and left, its pace, and the price of a unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from decision_engine.outcomes import Stage
from decision_engine.pacing import HOURS, HourShares, Period, faded, period_at
from decision_engine.prepared import PreparedStrategy
from decision_engine.strategy import VolumeConstraint
from event_schemas.codec import Event
from event_schemas.control import PricesSet
from event_schemas.envelope import epoch_ms
from services.use_cases.observing.funnel import Part, in_channels
from services.use_cases.observing.funnel_log import FunnelLog
from services.use_cases.observing.results_rates import Rate, wilson
from services.use_cases.observing.volumes_pace import PaceOfVolume, pace_by, pace_of


class Pools(Protocol):
    """The pools in the store. Raises StoreUnavailable."""

    def pool(self, volume: str, period: str) -> str:
        """The name of a volume's pool in a period."""
        ...

    async def is_open(self) -> bool:
        """Whether anything may be handed out; not while what was is being read from the log."""
        ...

    async def left(self, pools: Sequence[str]) -> dict[str, int]:
        """Units that nobody has charged, of the pools that exist."""
        ...

    async def held(self) -> Mapping[str, int] | None:
        """Units by pool that are held for options that nothing has come of yet; None where they are too many to add
        up."""
        ...


@dataclass(slots=True)
class PricesNow:
    """The newest prices of the control topic."""

    prices: Mapping[str, float] | None = None
    """Minor units of value a unit, by volume; None: nobody has set any."""
    computed_ms: int = 0
    decisions: int = 0
    hours: HourShares | None = None

    async def note(self, event: Event) -> None:
        """Takes in what the pacer has published."""
        if isinstance(event, PricesSet) and epoch_ms(event.data.computed_at) >= self.computed_ms:
            self.prices, self.computed_ms = dict(event.data.prices), epoch_ms(event.data.computed_at)
            self.decisions = event.data.decisions
            hours = event.data.hours
            self.hours = hours if len(hours) == HOURS and sum(hours) > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeNow:
    """One volume. `period` is None before its first and after its last moment; `left` is None where the store has no
    pool of it yet: then nothing was handed out. `used` units are charged, and of these `held` (None: not added up) may
    come back. `price` is as nodes use it now, faded by its age; None without one."""

    volume: VolumeConstraint
    period: Period | None
    left: int | None = None
    held: int | None = None
    price: float | None = None
    pace: PaceOfVolume | None = None

    @property
    def used(self) -> int:
        """Units held or gone."""
        return 0 if self.left is None else self.volume.amount - self.left

    @property
    def gone(self) -> int | None:
        """Units that will not come back."""
        return None if self.held is None else max(0, self.used - self.held)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesNow:
    """All volumes, and whether the store hands out at all. Prices were computed at `priced_ms` from so many
    `decisions`; 0: never."""

    volumes: tuple[VolumeNow, ...]
    open: bool
    priced_ms: int
    decisions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeDesk:
    """Asks the store. Prices count in full until they are `fresh_ms` old."""

    pools: Pools
    prices: PricesNow
    fresh_ms: int

    async def now(self, prepared: PreparedStrategy, now_ms: int) -> VolumesNow:
        """How the strategy's volumes stand. Raises StoreUnavailable."""
        periods = {volume.id: period_at(volume, now_ms, prepared.zone) for volume in prepared.strategy.volumes}
        names = {name: self.pools.pool(name, period.name) for name, period in periods.items() if period is not None}
        left, held = await self.pools.left(list(names.values())) if names else {}, await self.pools.held()
        found = []
        for volume in prepared.strategy.volumes:
            period, pool = periods[volume.id], names.get(volume.id)
            if period is None or pool is None:
                found.append(VolumeNow(volume=volume, period=None))
                continue
            units, waiting = left.get(pool), None if held is None else held.get(pool, 0)
            now = VolumeNow(volume=volume, period=period, left=units, held=waiting, price=self._price(volume, now_ms))
            found.append(_paced(now, period, now_ms, self._pace(prepared, now_ms)))
        return VolumesNow(
            volumes=tuple(found),
            open=await self.pools.is_open(),
            priced_ms=self.prices.computed_ms,
            decisions=self.prices.decisions,
        )

    def _price(self, volume: VolumeConstraint, now_ms: int) -> float | None:
        price = None if self.prices.prices is None else self.prices.prices.get(volume.id)
        return None if price is None else faded(price, now_ms - self.prices.computed_ms, self.fresh_ms)

    def _pace(self, prepared: PreparedStrategy, now_ms: int) -> "_PaceTerms":
        fresh = self.prices.prices is not None and now_ms - self.prices.computed_ms <= self.fresh_ms
        return _PaceTerms(prepared, self.prices.hours, fresh)


@dataclass(frozen=True, slots=True)
class _PaceTerms:
    prepared: PreparedStrategy
    hours: HourShares | None
    priced: bool


def _paced(now: VolumeNow, period: Period, now_ms: int, terms: _PaceTerms) -> VolumeNow:
    pace = pace_by(terms.hours, terms.prepared.zone, priced=terms.priced)
    return VolumeNow(
        volume=now.volume,
        period=now.period,
        left=now.left,
        held=now.held,
        price=now.price,
        pace=pace_of(now.volume, period, now_ms, now.used, pace),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CapUse:
    """One rule of the contact policy: candidates it refused, and the share of requests in which it refused any."""

    rule: str
    code: str
    candidates: int
    requests: Rate


def cap_use(log: FunnelLog, part: Part) -> tuple[CapUse, ...]:
    """What the contact policy held back in the period, the rule that bites most often first."""
    asked = int(in_channels(log, log.requests.channel, part.channels).sum())
    candidates: dict[tuple[str, str], int] = {}
    befallen: dict[tuple[str, str], int] = {}
    for channel, _, end, number in log.candidates:
        if end.stage == Stage.CONTACT_POLICY and (part.channels is None or channel in part.channels):
            candidates[end.rule, end.code] = candidates.get((end.rule, end.code), 0) + number
    for channel, end, number in log.befallen:
        if end.stage == Stage.CONTACT_POLICY and (part.channels is None or channel in part.channels):
            befallen[end.rule, end.code] = befallen.get((end.rule, end.code), 0) + number
    found = [
        CapUse(rule=rule, code=code, candidates=number, requests=wilson(befallen.get((rule, code), 0), asked))
        for (rule, code), number in candidates.items()
    ]
    return tuple(sorted(found, key=lambda use: (-use.requests.hits, -use.candidates, use.rule)))
