"""Regret per decision against the oracle before and after a shift in taste: the product beside its first model alone,
and beside each half of what it does; and how soon a new offer gets its fair share (`regret_launches`).

Every bank of a seed is lived four times, people, visits, truth and first version the same (`regret_lives`): by the tree
alone, fitted once; with online learning over that tree; with the learner's refits and without online learning; and by
the product, which does both. After `BEFORE` days tastes change: every offer's level by a normal number of standard
deviation `SHIFT_OFFERS` logits, and every affinity by one of `SHIFT_AFFINITIES`. No life is told. Regret is the
oracle's true expected value of a decision less that of what was shown (minor units); the oracle knows traits, truth and
fatigue, so that no policy reaches zero. Each life is judged on the decisions it came to.

`python -m loadtests.regret` prints both tables, with 95 % intervals by bootstrap over the customers of all seeds.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from loadtests.regret_figures import Estimate, of_seed, ratio, regrets
from loadtests.regret_launches import measure_launches, print_launches
from loadtests.regret_lives import CUSTOMERS, Judged, Kind, Life, explored_bank, regret_bank, taste_shift

SEEDS = (24, 25, 26)
"""Held out: no setting was chosen on them."""
BEFORE, AFTER, LAST = 4, 30, 6
"""Days measured before the shift, after it, and of the latter the last ones."""
SHIFT_OFFERS, SHIFT_AFFINITIES = 1.5, 0.0
"""Standard deviations in logits."""
HALF = 0.5
_TOGETHER = ((Kind.PRODUCT, Kind.TREE), (Kind.REFITS, Kind.ONLINE))
"""Lives that one process lives, so that two processes are busy for about as long."""


@dataclass(frozen=True, slots=True)
class Fits:
    """What the learner of a life did: fits, those it put into service, and those of them that drift had started."""

    made: int = 0
    promoted: int = 0
    by_drift: int = 0

    def __add__(self, other: "Fits") -> "Fits":
        return Fits(self.made + other.made, self.promoted + other.promoted, self.by_drift + other.by_drift)


@dataclass(frozen=True, slots=True)
class Lived:
    """Some lives of one bank: their decisions, what their learners did, the offer that the oracle most often put first
    while the bank was explored, and why the checks had refused the first version, if they had."""

    judged: dict[Kind, list[Judged]]
    fits: dict[Kind, Fits]
    favourite: str
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegretReport:
    """All lives of all seeds, customers told apart by seed; by seed the offer that was most often best before, and what
    the checks had said of first versions that they refused."""

    lives: dict[Kind, list[Judged]]
    fits: dict[Kind, Fits]
    favourites: dict[int, str]
    refused: dict[int, tuple[str, ...]]

    def days(self, life: Kind, first: int, last: int) -> list[Judged]:
        """The decisions of these days, the last one excluded."""
        return [one for one in self.lives[life] if first <= one.day < last]

    def mean(self, life: Kind, first: int, last: int) -> float:
        """Regret per decision, minor units."""
        return float(np.mean([one.regret for one in self.days(life, first, last)]))

    @property
    def last_days(self) -> tuple[int, int]:
        """The days the end is judged by."""
        return BEFORE + AFTER - LAST, BEFORE + AFTER

    def at_the_end(self, life: Kind = Kind.PRODUCT) -> Estimate:
        """Its regret over that of the tree alone, on the last days."""
        return ratio(regrets(self.days(life, *self.last_days)), regrets(self.days(Kind.TREE, *self.last_days)))

    @property
    def fallen_to(self) -> Estimate:
        """The product's regret on the last days over that of the first two days after the shift."""
        after = self.days(Kind.PRODUCT, BEFORE, BEFORE + 2)
        return ratio(regrets(self.days(Kind.PRODUCT, *self.last_days)), regrets(after))


def measure_regret(seeds: Sequence[int], customers: int, workers: int = 2) -> RegretReport:
    """All lives of the banks of these seeds."""
    lives: dict[Kind, list[Judged]] = {kind: [] for kind in Kind}
    fits = {kind: Fits() for kind in Kind}
    favourites: dict[int, str] = {}
    refused: dict[int, tuple[str, ...]] = {}
    jobs = [(seed, kinds) for kinds in _TOGETHER for seed in seeds]
    with ProcessPoolExecutor(workers) as pool:
        for (seed, kinds), lived in zip(
            jobs, pool.map(lived_through, *zip(*jobs, strict=True), [customers] * len(jobs)), strict=True
        ):
            favourites[seed] = lived.favourite
            if lived.refused:
                refused[seed] = lived.refused
            for kind in kinds:
                lives[kind] += of_seed(lived.judged[kind], seed)
                fits[kind] += lived.fits[kind]
            done = ", ".join(f"{kind.value} {len(lived.judged[kind]):,} decisions" for kind in kinds)
            print(f"  seed {seed}: {done}", file=sys.stderr, flush=True)
    return RegretReport(lives, fits, favourites, refused)


def lived_through(seed: int, kinds: Sequence[Kind], customers: int) -> Lived:
    """These lives of one bank through a shift in taste."""
    logging.getLogger().setLevel(logging.CRITICAL)  # alarms of drift are what is measured here, not news
    strategy = regret_bank()
    turn = taste_shift(strategy, seed, SHIFT_OFFERS, SHIFT_AFFINITIES)
    judged: dict[Kind, list[Judged]] = {}
    fits: dict[Kind, Fits] = {}
    with tempfile.TemporaryDirectory() as folder:
        bank = explored_bank(strategy, seed, customers, BEFORE + AFTER, Path(folder) / "bank")
        for kind in kinds:
            life = bank.life(kind, strategy, Path(folder) / kind.name)
            for number, day in enumerate(bank.days):
                if number == BEFORE:
                    turn(life)
                life.live(number, day)
            judged[kind], fits[kind] = life.judged, _fits(life)
    favourite = min(bank.wanted, key=lambda name: (-bank.wanted[name], name))
    return Lived(judged, fits, favourite, bank.refused)


def _fits(life: Life) -> Fits:
    if life.learner is None:
        return Fits()
    served = life.learner.promoted
    drifted = sum(learnt.assessment.reason.startswith("drift") for learnt in life.learner.fits if learnt in served)
    return Fits(len(life.learner.fits), len(served), drifted)


def print_regret(report: RegretReport) -> None:
    """By spans of days."""
    print(f"regret per decision, minor units; tastes change on day {BEFORE}")
    print(f"{'days':<10}{'oracle':>10}" + "".join(f"{kind.value:>14}" for kind in Kind) + f"{'product/tree':>14}")
    for first, last in pairwise([0, *range(BEFORE, BEFORE + AFTER + 1, 3)]):
        best = float(np.mean([one.best for one in report.days(Kind.TREE, first, last)]))
        means = [report.mean(kind, first, last) for kind in Kind]
        figures = "".join(f"{mean:>14,.0f}" for mean in means)
        share = report.mean(Kind.PRODUCT, first, last) / report.mean(Kind.TREE, first, last)
        print(f"{f'{first}-{last - 1}':<10}{best:>10,.0f}{figures}{share:>14.2f}")
    for kind in (Kind.PRODUCT, Kind.ONLINE, Kind.REFITS):
        print(f"last {LAST} days, {kind.value} over tree alone: {report.at_the_end(kind)}")
    print(f"last {LAST} days over the first two after the shift, product: {report.fallen_to}")
    for kind in (Kind.PRODUCT, Kind.REFITS):
        fits = report.fits[kind]
        print(f"{kind.value}: {fits.made} fits, {fits.promoted} promoted, {fits.by_drift} of them started by drift")
    for seed, problems in report.refused.items():
        print(f"seed {seed}: the checks refused the first version, which serves all lives: {'; '.join(problems)}")


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
    return 0 if regret.at_the_end().value <= HALF and not launches.stuck else 1


if __name__ == "__main__":
    sys.exit(main())
