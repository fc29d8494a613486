"""What sharing out scarce things well is worth: prices against plain pacing, first come, and hindsight.

Every policy is the product's own engine on the same visits; they differ in the volume view it is given. `dual prices`
recomputes prices every half hour from the traffic of the days before and what is left, as the pacer does. The
yardstick is the optimum of the linear programme over all visits at once, which nobody can reach who does not know
the future.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from decision_engine.customer import CustomerSnapshot
from decision_engine.engine import decide
from decision_engine.pacing import HOUR_MS, HOURS, HourShares, Pace, Period, allowed_units
from decision_engine.strategy import VolumeConstraint
from decision_engine.volume_view import VolumeStanding, VolumeView
from models.dual_prices import price_traffic, smoothed
from services.simulation.bank import TIME_ZONE
from services.simulation.hours import hour_of
from services.simulation.scarcity_bank import Arrival, KnownTruth, ScarceBank, make_scarce_bank

DUAL_PRICES, PLAIN_PACING, FIRST_COME, HINDSIGHT = "dual prices", "plain pacing", "first come", "hindsight optimum"
POLICIES = (DUAL_PRICES, PLAIN_PACING, FIRST_COME)
DAY_MS = 24 * HOUR_MS
RECENT_MS = 3 * DAY_MS
REPRICE_MS = HOUR_MS // 2
SAMPLE = 1_500
"""Visits a programme is solved over: more move the prices by less than the next hour's traffic does."""
NEWEST_WEIGHT = 0.7
REPLICATES = 2_000
_CUSTOMER = CustomerSnapshot(known=True, attributes={}, holdings=frozenset(), consents={}, newest_event_ms=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScarcityRun:
    """One seed: the true expected value of every policy and of hindsight, and how much of each volume was used."""

    seed: int
    visits: int
    values: Mapping[str, float]
    used: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareOfOptimum:
    """A policy's share of the hindsight optimum over the seeds: mean, and the 95 % interval of the mean."""

    policy: str
    mean: float
    low: float
    high: float


def run_scarcity(customers: int, days: int, seed: int) -> ScarcityRun:
    """Runs every policy on the bank of one seed."""
    bank = make_scarce_bank(customers, days, seed)
    amounts = {volume.id: float(volume.amount) for volume in bank.prepared.strategy.volumes}
    hindsight = price_traffic([arrival.opportunity for arrival in bank.arrivals], amounts)
    values, used = {HINDSIGHT: hindsight.value}, {}
    used[HINDSIGHT] = {name: units / amounts[name] for name, units in hindsight.used.items()}
    for policy in POLICIES:
        desk = _Desk(bank, policy, seed)
        values[policy] = sum(desk.serve(arrival) for arrival in bank.arrivals)
        used[policy] = {name: units / amounts[name] for name, units in desk.spent.items()}
    return ScarcityRun(seed=seed, visits=len(bank.arrivals), values=values, used=used)


def shares_of_optimum(runs: Sequence[ScarcityRun]) -> list[ShareOfOptimum]:
    """Each policy's share over the runs, with a bootstrap interval over seeds."""
    draws = np.random.default_rng(runs[0].seed)
    picks = draws.integers(0, len(runs), (REPLICATES, len(runs)))
    rows = []
    for policy in POLICIES:
        shares = np.array([run.values[policy] / run.values[HINDSIGHT] for run in runs])
        low, high = np.percentile(shares[picks].mean(axis=1), (2.5, 97.5))
        rows.append(ShareOfOptimum(policy=policy, mean=float(shares.mean()), low=float(low), high=float(high)))
    return rows


def gain(runs: Sequence[ScarcityRun], policy: str, over: str) -> ShareOfOptimum:
    """How much more a policy realises than another, paired by seed (0.05: five per cent more)."""
    draws = np.random.default_rng(runs[0].seed)
    ratios = np.array([run.values[policy] / run.values[over] - 1 for run in runs])
    low, high = np.percentile(ratios[draws.integers(0, len(runs), (REPLICATES, len(runs)))].mean(axis=1), (2.5, 97.5))
    return ShareOfOptimum(policy=f"{policy} over {over}", mean=float(ratios.mean()), low=float(low), high=float(high))


@dataclass(slots=True)
class _Pricing:
    """The prices in force, and the recent visits they are made of."""

    recent: list[Arrival]
    prices: dict[str, float] = field(default_factory=dict)
    due_ms: int = 0


class _Desk:
    """Serves a bank's visits under one policy, in one process: one pool a volume, no leases."""

    def __init__(self, bank: ScarceBank, policy: str, seed: int) -> None:
        self._bank = bank
        self._prepared = bank.prepared
        self._volumes = bank.prepared.strategy.volumes
        self._period = Period("total", bank.start_ms, bank.end_ms)
        self._scorer = KnownTruth([str(offer.name) for offer in bank.prepared.offers])
        self._number = {str(offer.name): number for number, offer in enumerate(bank.prepared.offers)}
        self._draws = np.random.default_rng(seed)
        self._pricing = _Pricing(recent=list(bank.before)) if policy == DUAL_PRICES else None
        self._allowed: Callable[[VolumeConstraint, int], int] = (
            (lambda volume, _: volume.amount) if policy == FIRST_COME else self._paced
        )
        self._hours = _hour_shares(bank.before)
        self.spent: dict[str, int] = {volume.id: 0 for volume in self._volumes}

    def serve(self, arrival: Arrival) -> float:
        """Decides, takes from the volumes, and answers the true expected value of what is shown."""
        if self._pricing is not None:
            self._reprice(self._pricing, arrival.at_ms)
            self._pricing.recent.append(arrival)
        self._scorer.probabilities = arrival.probabilities
        view = self._view(arrival.at_ms)
        draft = decide(self._prepared, arrival.request, _CUSTOMER, (), {"truth": self._scorer}, view)
        positions = draft.slate[0].positions
        if not positions:
            return 0.0
        shown = positions[0][0].offer
        for place, cost in self._prepared.volumes.uses[shown]:
            self.spent[self._volumes[place].id] += cost
        return float(arrival.values[shown])

    def _view(self, now_ms: int) -> VolumeView:
        prices: Mapping[str, float] = {} if self._pricing is None else self._pricing.prices
        view = {}
        for volume in self._volumes:
            allowed = self._allowed(volume, now_ms) - self.spent[volume.id]
            left = volume.amount - self.spent[volume.id]
            view[volume.id] = VolumeStanding(max(0, min(allowed, left)), left > allowed, prices.get(volume.id, 0.0))
        return view

    def _paced(self, volume: VolumeConstraint, now_ms: int) -> int:
        pace = Pace(zone=self._prepared.zone, hours=self._hours, priced=self._pricing is not None)
        return allowed_units(volume, self._period, now_ms, pace)

    def _reprice(self, pricing: _Pricing, now_ms: int) -> None:
        if now_ms < pricing.due_ms:
            return
        pricing.due_ms = now_ms + REPRICE_MS
        pricing.recent = [arrival for arrival in pricing.recent if arrival.at_ms >= now_ms - RECENT_MS]
        picked = self._draws.permutation(len(pricing.recent))[:SAMPLE].tolist()
        span_ms = now_ms - pricing.recent[0].at_ms
        # Recent traffic stands for all that is to come: each picked visit for so many.
        weight = len(pricing.recent) * max(self._bank.end_ms - now_ms, REPRICE_MS) / max(span_ms, DAY_MS) / len(picked)
        units = {volume.id: (volume.amount - self.spent[volume.id]) / weight for volume in self._volumes}
        sample = [pricing.recent[number].opportunity for number in picked]
        pricing.prices = smoothed(pricing.prices, price_traffic(sample, units).prices, NEWEST_WEIGHT)


def _hour_shares(arrivals: Sequence[Arrival]) -> HourShares:
    """How visits spread over the hours of the bank's day; every hour has a little."""
    counts = np.bincount([int(hour_of(arrival.at_ms, TIME_ZONE)) for arrival in arrivals], minlength=HOURS) + 1.0
    return tuple((counts / counts.sum()).tolist())
