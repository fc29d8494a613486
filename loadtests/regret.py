"""Regret per decision against the oracle, with and without online learning, before and after a shift in taste; and how
soon a new offer gets its fair share.

A simulated bank (`regret_bank.yaml`) lives, is explored at random, and a tree is fitted by the product's own training.
From then on it lives twice, people, visits, truth and tree the same:

    tree alone      the engine ranks by the tree, no exploration
    tree + online   the same tree; posteriors over it, learnt from this life's own responses; Thompson sampling

After `BEFORE` days tastes change: every offer's level by a normal number of standard deviation `SHIFT_OFFERS` logits,
and every affinity by one of `SHIFT_AFFINITIES`. Neither life is told, and the tree is not fitted anew in either: both
keep it, so what is measured is what the layer adds until the next fit, and not what a fit would add. Regret is the
oracle's true expected value of a decision less that of what was shown (minor units); the oracle knows traits, truth and
fatigue, so that no policy reaches zero. Each life is judged on the decisions it came to.

For the second question a bank withholds one offer from log and tree until the first measured day, without a shift, in a
life with online learning. Its fair share is the share of decisions in which the oracle puts it first. Which offer: the
one that the oracle most often puts first while the bank of that seed is explored with all its offers.
Compared are the decisions between its 250th and its 500th impression: the share of them that shows it, with the share
in which the oracle would.

`python -m loadtests.regret` prints both tables, with 95 % intervals by bootstrap over the customers of all seeds.
"""

import argparse
import sys
from collections import Counter as Counts
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decision_engine.prepared import prepare
from decision_engine.propensity import Scorers
from decision_engine.strategy import Exploration, Strategy
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.bank import BankConfig, BankStream, SimulatedDay
from services.simulation.closed_loop import LoopConfig, LoopLog, train_models
from services.simulation.online_learner import InProcessLearner
from services.simulation.policy_value import JudgedDecision
from services.simulation.served_decisions import SERVED, Counter
from services.simulation.truth import ResponseModel, TasteShift

Floats = NDArray[np.float64]

SEEDS, CUSTOMERS = (11, 12, 13), 800
HISTORY, EXPLORED, BEFORE, AFTER, LAST = 3, 14, 4, 30, 6
"""Days: of life before, explored at random, measured before the shift, after it, and of the latter the last ones."""
SHIFT_OFFERS, SHIFT_AFFINITIES = 1.5, 0.0
"""Standard deviations in logits."""
FIRST_SHOWN, LAUNCH_DAYS = 500, 16
"""The impressions within which a new offer is to get its share."""
FAIR = 0.8
REFRESH_MS = 600_000
"""How often the table is read anew, in simulated time."""
FIRST_DAY = date(2026, 3, 1)
DAY_MS = 86_400_000
REPLICATES = 2_000
TREE, ONLINE = "tree alone", "tree + online"
LEARNING = Exploration(kind="thompson", rounds=100, contenders=24)
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Judged:
    """A measured decision: day of the measurement, customer, regret, the oracle's value, what was shown and what the
    oracle would have shown."""

    day: int
    customer: str
    regret: float
    best: float
    shown: str | None
    wanted: str


@dataclass(slots=True)
class Life:
    """One life of a bank from the end of the exploration on."""

    counter: Counter
    scorers: Scorers
    learner: InProcessLearner | None
    judged: list[Judged] = field(default_factory=list)
    refreshed_ms: int = 0

    def live(self, number: int, day: SimulatedDay) -> None:
        """Lives on for a day and judges its decisions."""
        self.counter.states.add(day.events)
        for visit in day.visits:
            self._refresh(visit.at_ms)
            served = self.counter.serve(visit, self.scorers)
            if served is None:
                continue
            if self.learner is not None:
                self.learner.note(served)
            verdict = self.counter.worth(visit, served)
            if verdict is not None:
                self.judged.append(_judged(number, verdict))

    def _refresh(self, now_ms: int) -> None:
        if self.learner is not None and now_ms - self.refreshed_ms >= REFRESH_MS:
            self.counter.online = self.learner.table(now_ms)
            self.refreshed_ms = now_ms


def _judged(day: int, verdict: JudgedDecision) -> Judged:
    expected = verdict.expected
    wanted = max(expected, key=lambda name: expected[name])
    shown = verdict.chosen[SERVED]
    earned = 0.0 if shown is None else expected.get(shown, 0.0)
    return Judged(day, verdict.customer_id, expected[wanted] - earned, expected[wanted], shown, wanted)


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank whose tree has been fitted, the days that follow, and which offers the oracle would have put first."""

    counter: Counter
    scorers: Scorers
    days: tuple[SimulatedDay, ...]
    wanted: Counts[str]
    learnt_from: int


def fitted_bank(strategy: Strategy, seed: int, customers: int, days: int) -> Bank:
    """A bank explored on base rates, every offer as likely as any other, and the tree fitted on that log."""
    exploring = replace(strategy, online=None, exploration=Exploration(kind="epsilon_greedy", epsilon=1.0))
    stream = BankStream(BankConfig(seed=seed, customers=customers, start=FIRST_DAY))
    counter, log, wanted = Counter(exploring, stream.people, seed), LoopLog(), Counts[str]()
    for number in range(HISTORY + EXPLORED):
        day = stream.next_day()
        counter.states.add(day.events)
        for visit in day.visits if number >= HISTORY else ():
            served = counter.serve(visit, {})
            if served is not None:
                log.note(served)
                verdict = counter.worth(visit, served)
                wanted.update([] if verdict is None else [_judged(number, verdict).wanted])
    config = LoopConfig(strategy=exploring, customers=customers, seed=seed)
    scorers, _ = train_models(config, log, lambda _: None)
    return Bank(counter, scorers, tuple(stream.next_day() for _ in range(days)), wanted, len(log.decisions))


def life_of(bank: Bank, strategy: Strategy, *, online: bool) -> Life:
    """The bank's life from the end of the exploration on."""
    if not online:
        plain = replace(strategy, online=None, exploration=Exploration())
        return Life(bank.counter.continued(plain), bank.scorers, None)
    learning = replace(strategy, exploration=LEARNING)
    prepared = prepare(learning)
    if prepared.online is None:
        raise ValueError(f"{strategy.name} does not declare online_learning")
    return Life(
        bank.counter.continued(learning), bank.scorers, InProcessLearner(prepared, prepared.online, bank.scorers)
    )


def shifted_lives(strategy: Strategy, customers: int, seed: int) -> tuple[dict[str, list[Judged]], str]:
    """Both lives of one bank through a shift in taste, and the offer that the oracle most often put first before."""
    bank = fitted_bank(strategy, seed, customers, BEFORE + AFTER)
    shift = TasteShift(seed=seed, offers=SHIFT_OFFERS, affinities=SHIFT_AFFINITIES)
    lives = {}
    for name in (TREE, ONLINE):
        life = life_of(bank, strategy, online=name == ONLINE)
        for number, day in enumerate(bank.days):
            if number == BEFORE:
                life.counter.truth = ResponseModel(strategy.offers, seed, shift)
            life.live(number, day)
        lives[name] = life.judged
    return lives, min(bank.wanted, key=lambda name: (-bank.wanted[name], name))


@dataclass(frozen=True, slots=True)
class Launch:
    """A new offer's time: the decisions from its first day on."""

    offer: str
    judged: tuple[Judged, ...]

    def within(self, first: int, last: int) -> list[Judged]:
        """The decisions after so many impressions of the offer, up to so many."""
        shown, found = 0, []
        for one in self.judged:
            if first <= shown < last:
                found.append(one)
            shown += one.shown == self.offer
        return found

    @property
    def impressions(self) -> int:
        """How often it was shown at all."""
        return sum(one.shown == self.offer for one in self.judged)


def launched_life(strategy: Strategy, customers: int, seed: int, offer: str) -> Launch:
    """A bank to which an offer is new on the first measured day: no log and no tree has seen it."""
    bank = fitted_bank(withheld(strategy, offer), seed, customers, LAUNCH_DAYS)
    life = life_of(bank, strategy, online=True)
    for number, day in enumerate(bank.days):
        life.live(number, day)
    return Launch(offer, tuple(life.judged))


def withheld(strategy: Strategy, offer: str) -> Strategy:
    """The strategy while the offer is not there yet."""
    never = 2**62
    offers = [replace(one, available_from_ms=never) if one.name == offer else one for one in strategy.offers]
    return replace(strategy, offers=tuple(offers))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval over customers."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def ratio(upper: Sequence[tuple[str, float, float]], lower: Sequence[tuple[str, float, float]]) -> Estimate:
    """A ratio of two means; rows are customer, amount and count. Customers are drawn again, with both their sums."""
    customers = sorted({row[0] for row in (*upper, *lower)})
    places = {customer: place for place, customer in enumerate(customers)}
    sums = np.zeros((4, len(customers)))
    for first, rows in ((0, upper), (2, lower)):
        for customer, amount, count in rows:
            sums[first, places[customer]] += amount
            sums[first + 1, places[customer]] += count
    draws = np.random.default_rng(1)
    weights = draws.multinomial(len(customers), np.full(len(customers), 1 / len(customers)), REPLICATES)
    drawn = weights @ sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = (drawn[:, 0] / drawn[:, 1]) / (drawn[:, 2] / drawn[:, 3])
    totals = sums.sum(axis=1)
    low, high = np.nanpercentile(replicates, (2.5, 97.5))
    return Estimate(float((totals[0] / totals[1]) / (totals[2] / totals[3])), float(low), float(high))


@dataclass(frozen=True, slots=True)
class RegretReport:
    """Both lives of all seeds, customers told apart by seed; by seed the offer that was most often best before."""

    lives: dict[str, list[Judged]]
    favourites: dict[int, str]

    def days(self, life: str, first: int, last: int) -> list[Judged]:
        """The decisions of these days, the last one excluded."""
        return [one for one in self.lives[life] if first <= one.day < last]

    def mean(self, life: str, first: int, last: int) -> float:
        """Regret per decision, minor units."""
        return float(np.mean([one.regret for one in self.days(life, first, last)]))

    @property
    def last_days(self) -> tuple[int, int]:
        """The days the end is judged by."""
        return BEFORE + AFTER - LAST, BEFORE + AFTER

    @property
    def at_the_end(self) -> Estimate:
        """Regret with online learning over regret of the tree alone, on the last days."""
        return ratio(_regrets(self.days(ONLINE, *self.last_days)), _regrets(self.days(TREE, *self.last_days)))

    @property
    def fallen_to(self) -> Estimate:
        """Regret with online learning on the last days over that of the first two days after the shift."""
        after = self.days(ONLINE, BEFORE, BEFORE + 2)
        return ratio(_regrets(self.days(ONLINE, *self.last_days)), _regrets(after))


@dataclass(frozen=True, slots=True)
class LaunchReport:
    """All launches of all seeds."""

    launches: list[Launch]

    def share(self, first: int, last: int) -> Estimate:
        """Share of decisions that show the new offer over the share in which the oracle would, between so many and so
        many impressions of it; all launches together."""
        judged = [(launch.offer, one) for launch in self.launches for one in launch.within(first, last)]
        shown = [(one.customer, float(one.shown == offer), 1.0) for offer, one in judged]
        return ratio(shown, [(one.customer, float(one.wanted == offer), 1.0) for offer, one in judged])

    @property
    def fair(self) -> Estimate:
        """The share they have come to within their first impressions; without those that never had so many."""
        return self.share(FIRST_SHOWN // 2, FIRST_SHOWN)

    @property
    def stuck(self) -> list[str]:
        """New offers that were shown too seldom to come to any share, or came to less than the fair one."""
        return [
            launch.offer
            for launch in self.launches
            if launch.impressions <= FIRST_SHOWN // 2
            or LaunchReport([launch]).share(FIRST_SHOWN // 2, FIRST_SHOWN).value < FAIR
        ]


def _regrets(judged: Sequence[Judged]) -> list[tuple[str, float, float]]:
    return [(one.customer, one.regret, 1.0) for one in judged]


def _of_seed(judged: Iterable[Judged], seed: int) -> list[Judged]:
    return [replace(one, customer=f"{seed}/{one.customer}") for one in judged]


def measure_regret(seeds: Sequence[int], customers: int, workers: int = 2) -> RegretReport:
    """Both lives of the banks of these seeds."""
    lives: dict[str, list[Judged]] = {TREE: [], ONLINE: []}
    favourites: dict[int, str] = {}
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(partial(shifted_lives, regret_bank(), customers), seeds)
        for seed, (found, favourites[seed]) in zip(seeds, results, strict=True):
            for name, judged in found.items():
                lives[name] += _of_seed(judged, seed)
            print(f"  seed {seed}: {len(found[TREE]):,} decisions a life", file=sys.stderr, flush=True)
    return RegretReport(lives, favourites)


def measure_launches(offers: Mapping[int, str], customers: int, workers: int = 2) -> LaunchReport:
    """The launch of an offer in the bank of each seed."""
    launches = []
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(partial(launched_life, regret_bank(), customers), offers.keys(), offers.values())
        for (seed, offer), launch in zip(offers.items(), found, strict=True):
            launches.append(Launch(offer, tuple(_of_seed(launch.judged, seed))))
            print(f"  seed {seed}: {offer} shown {launch.impressions} times", file=sys.stderr, flush=True)
    return LaunchReport(launches)


def regret_bank() -> Strategy:
    """The strategy of the banks."""
    return load_strategy_file(Path(__file__).with_name("regret_bank.yaml"))


def print_regret(report: RegretReport) -> None:
    """By spans of days."""
    print(f"regret per decision, minor units; tastes change on day {BEFORE}")
    print(f"{'days':<10}{'oracle':>10}{TREE:>15}{ONLINE:>15}{'ratio':>8}")
    edges = [0, *range(BEFORE, BEFORE + AFTER + 1, 3)]
    for first, last in pairwise(edges):
        best = float(np.mean([one.best for one in report.days(ONLINE, first, last)]))
        tree, online = report.mean(TREE, first, last), report.mean(ONLINE, first, last)
        print(f"{f'{first}-{last - 1}':<10}{best:>10,.0f}{tree:>15,.0f}{online:>15,.0f}{online / tree:>8.2f}")
    print(f"last {LAST} days, online over tree alone: {report.at_the_end}")
    print(f"last {LAST} days over the first two after the shift, online: {report.fallen_to}")


def print_launches(report: LaunchReport) -> None:
    """By impressions of the new offer."""
    print("new offers: share of decisions over the oracle's share, by impressions so far")
    for first, last in pairwise((0, 50, 100, 250, FIRST_SHOWN, 2 * FIRST_SHOWN)):
        if any(launch.within(first, last) for launch in report.launches):
            print(f"{f'{first}-{last}':<10}{report.share(first, last)}")
    for launch in report.launches:
        judged = launch.within(FIRST_SHOWN // 2, FIRST_SHOWN)
        shown, wanted = (
            float(np.mean([name == launch.offer for name in names])) if judged else float("nan")
            for names in ([one.shown for one in judged], [one.wanted for one in judged])
        )
        print(f"  {launch.offer:<20}{launch.impressions:>6} impressions; shown {shown:.1%}, fair {wanted:.1%}")


def main() -> int:
    """Prints both tables; status 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    regret = measure_regret(args.seeds, args.customers, args.workers)
    print_regret(regret)
    launches = measure_launches(regret.favourites, args.customers, args.workers)
    print_launches(launches)
    return 0 if regret.at_the_end.value <= HALF and not launches.stuck else 1


if __name__ == "__main__":
    sys.exit(main())
