"""How soon a new offer gets its fair share, in a bank with known truth (`regret` prints it).

A bank withholds one offer from log and first version until the first measured day, without a shift, in a life that
learns online. Its fair share is the share of decisions in which the oracle puts it first. Which offer: the one that the
oracle most often puts first while the bank of that seed is explored with all its offers. Compared are the decisions
between its 250th and its 500th impression: the share of them that shows it, with the share in which the oracle would.
"""

import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from decision_engine.strategy import Strategy
from loadtests.regret_figures import Estimate, of_seed, ratio
from loadtests.regret_lives import Judged, Kind, explored_bank, regret_bank

FIRST_SHOWN, LAUNCH_DAYS = 500, 16
"""The impressions within which a new offer is to get its share."""
FAIR = 0.8


@dataclass(frozen=True, slots=True)
class Launch:
    """A new offer's time: the decisions from its first day on, and why the checks had refused the first version, where
    they had."""

    offer: str
    judged: tuple[Judged, ...]
    refused: tuple[str, ...] = ()

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


def measure_launches(offers: Mapping[int, str], customers: int, workers: int = 2) -> LaunchReport:
    """The launch of an offer in the bank of each seed."""
    launches = []
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(partial(launched_life, regret_bank(), customers), offers.keys(), offers.values())
        for (seed, offer), launch in zip(offers.items(), found, strict=True):
            launches.append(replace(launch, judged=tuple(of_seed(launch.judged, seed))))
            print(f"  seed {seed}: {offer} shown {launch.impressions} times", file=sys.stderr, flush=True)
    return LaunchReport(launches)


def launched_life(strategy: Strategy, customers: int, seed: int, offer: str) -> Launch:
    """A bank to which an offer is new on the first measured day: no log and no version has seen it."""
    with tempfile.TemporaryDirectory() as folder:
        before = withheld(strategy, offer)
        bank = explored_bank(before, seed, customers, LAUNCH_DAYS, Path(folder) / "bank")
        life = bank.life(Kind.ONLINE, strategy, Path(folder) / "life")
        for number, day in enumerate(bank.days):
            life.live(number, day)
    return Launch(offer, tuple(life.judged), bank.refused)


def withheld(strategy: Strategy, offer: str) -> Strategy:
    """The strategy while the offer is not there yet."""
    never = 2**62
    offers = [replace(one, available_from_ms=never) if one.name == offer else one for one in strategy.offers]
    return replace(strategy, offers=tuple(offers))


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
        if launch.refused:
            print(f"    the checks refused the first version, which serves all the same: {'; '.join(launch.refused)}")
