"""The guard's test: exact, one-sided, and quiet about noise over all of its looks."""

from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_engine.guard_terms import GuardTerms, Tolerance
from services.workers.guard import worse
from services.workers.guard_statistics import LOOKS, Count, doubt_allowed, excess_p_value
from services.workers.guard_window import Counts

CLEAN = Count(1_000, 0)


@given(
    bad=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    customers=st.tuples(st.integers(31, 500), st.integers(31, 500)),
    times=st.floats(1.0, 4.0),
)
def test_the_p_value_is_the_tail_of_the_binomial(
    bad: tuple[int, int], customers: tuple[int, int], times: float
) -> None:
    total, chance = sum(bad), customers[0] * times / (customers[0] * times + customers[1])
    tail = sum(comb(total, k) * chance**k * (1 - chance) ** (total - k) for k in range(bad[0], total + 1))
    found = excess_p_value(Count(customers[0], bad[0]), Count(customers[1], bad[1]), times)
    assert found == pytest.approx(min(1.0, tail), rel=1e-9, abs=1e-12)


def test_more_of_the_bad_is_less_likely_by_chance() -> None:
    values = [excess_p_value(Count(500, bad), Count(500, 10), 1.0) for bad in range(10, 60)]
    assert all(later < earlier for earlier, later in pairwise(values))


def looked_at(
    rng: np.random.Generator, rates: tuple[float, float], customers: tuple[int, int], terms: GuardTerms
) -> bool:
    """Whether one whole window of looks, as its customers come, ends in an alarm; rates are of new and before."""
    arrivals = [rng.random(count) < rate for count, rate in zip(customers, rates, strict=True)]
    totals = [np.concatenate([[0], np.cumsum(each)]) for each in arrivals]
    for look in range(1, LOOKS + 1):
        reached = [len(each) * look // LOOKS for each in arrivals]
        new, old = (Count(n, int(total[n])) for n, total in zip(reached, totals, strict=True))
        if worse(counts(new), counts(old), terms) is not None:
            return True
    return False


def counts(fallback: Count) -> Counts:
    return Counts(degraded=Count(fallback.customers, 0), fallback=fallback, acceptance=Count(fallback.customers, 0))


@pytest.mark.parametrize("rate", [0.004, 0.05, 0.4])
@pytest.mark.parametrize("customers", [(400, 4_000), (2_000, 2_000)])
def test_versions_as_good_as_each_other_hardly_ever_raise_an_alarm(rate: float, customers: tuple[int, int]) -> None:
    """At the edge of what is tolerated, the worst that is no fault, with every tolerance for size taken away."""
    terms = GuardTerms(least=50, fallback=Tolerance(by=0.0, times=1.25), false_alarms=0.05)
    rng, runs = np.random.default_rng(7), 600
    alarms = sum(looked_at(rng, (rate * 1.25, rate), customers, terms) for _ in range(runs))
    # 0.05 is promised; four standard errors of the simulation on top.
    assert alarms / runs <= 0.05 + 4 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize(("rates", "customers"), [((0.3, 0.1), (400, 4_000)), ((0.03, 0.0), (2_000, 2_000))])
def test_a_version_that_is_much_worse_is_found_out(rates: tuple[float, float], customers: tuple[int, int]) -> None:
    terms = GuardTerms(fallback=Tolerance(by=0.01, times=1.25))
    rng = np.random.default_rng(7)
    assert sum(looked_at(rng, rates, customers, terms) for _ in range(50)) == 50


def test_an_acceptance_that_falls_is_worse_and_one_that_rises_is_not() -> None:
    terms = GuardTerms()
    good = Counts(CLEAN, CLEAN, Count(4_000, 400))
    bad = Counts(CLEAN, CLEAN, Count(4_000, 200))
    found = worse(bad, good, terms)
    assert found is not None
    assert found.measure == "acceptance"
    assert (found.new.share, found.old.share) == (0.05, 0.1)
    assert worse(good, bad, terms) is None


def test_nothing_is_concluded_from_few_customers_or_small_differences() -> None:
    terms = GuardTerms(least=200)
    few = Counts(Count(199, 199), Count(199, 199), Count(0, 0))
    assert worse(few, Counts(CLEAN, CLEAN, Count(0, 0)), terms) is None
    many, slight = 10**7, Tolerance(by=0.02, times=1.5)
    assert excess_p_value(Count(many, 150_000), Count(many, 50_000), slight.times) < doubt_allowed(1e-6)
    small = Counts(Count(many, 150_000), Count(many, 0), Count(0, 0))
    assert worse(small, Counts(Count(many, 50_000), Count(many, 0), Count(0, 0)), terms) is None
