"""A test that may be looked at as often as one likes: the mixture sequential probability ratio test.

An ordinary 95 % interval errs once in twenty looks; who looks daily and stops when it leaves 0 errs far more often.
Here the likelihood ratio of "some difference", mixed over a normal distribution of differences with standard deviation
tau, against "none" is followed. Under no difference it is a martingale that starts at 1, so by Ville's inequality it
ever exceeds 1 / alpha with probability at most alpha, however often it is looked at:

    ratio = sqrt(v / (v + tau^2)) x exp(tau^2 d^2 / (2 v (v + tau^2)))

d is the difference seen, v its variance. The p-value is the smallest 1 / ratio so far, and the interval, which holds
the true difference at all looks together with probability 1 - alpha, is

    d -/+ sqrt(v (v + tau^2) / tau^2 x (2 ln(1 / alpha) + ln((v + tau^2) / v))).

Sources: H. Robbins, Statistical methods related to the law of the iterated logarithm, Annals of Mathematical Statistics
41 (1970); R. Johari, P. Koomen, L. Pekelis, D. Walsh, Always valid inference, Operations Research 70 (2022). That the
estimated variance may stand for the true one once there is enough data: I. Waudby-Smith, D. Arbour, R. Sinha,
E. H. Kennedy, A. Ramdas, Time-uniform central limit theory and asymptotic confidence sequences, Annals of Statistics
52 (2024); hence nothing is concluded before `LEAST_REWARDED` rewarded customers in each arm.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt

from models.evaluation.intervals import Estimate

ALPHA = 0.05
EXPECTED_LIFT = 0.1
"""Tau as a part of the common mean: the size of difference that is found soonest. Any choice keeps the error rate."""
LEAST_REWARDED = 20
"""Rewarded customers in each arm before a look counts: below, the normal approximation says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look saw: the difference, its variance, and whether there was enough data to look at."""

    difference: float
    variance: float
    enough: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialVerdict:
    """After the last look: the p-value, the interval, both always valid, and the number of the look, from 0, at which
    the p-value first fell to `ALPHA` or below (None: not yet)."""

    p_value: float
    interval: Estimate
    decided_at: int | None


def sequential_verdict(looks: Iterable[Look], tau: float) -> SequentialVerdict:
    """Follows the looks in order. `tau`, above 0, is fixed before the first look or from the common mean of both arms,
    never from their difference."""
    p_value, decided_at = 1.0, None
    last = Look(difference=0.0, variance=inf, enough=False)
    for number, look in enumerate(looks):
        last = look
        if not look.enough:
            continue
        p_value = min(p_value, exp(-max(0.0, log_ratio(look.difference, look.variance, tau))))
        if p_value <= ALPHA and decided_at is None:
            decided_at = number
    return SequentialVerdict(p_value=p_value, interval=always_valid_interval(last, tau), decided_at=decided_at)


def log_ratio(seen: float, variance: float, tau: float) -> float:
    """The logarithm of the mixture likelihood ratio; 0 while nothing is known."""
    if not isfinite(variance) or variance <= 0.0 or tau <= 0.0:
        return 0.0
    mixed = variance + tau**2
    return 0.5 * log(variance / mixed) + tau**2 * seen**2 / (2.0 * variance * mixed)


def always_valid_interval(look: Look, tau: float) -> Estimate:
    """The interval at a look; unbounded while there is not enough data."""
    variance = look.variance
    if not look.enough or not isfinite(variance) or variance <= 0.0 or tau <= 0.0:
        return Estimate(value=look.difference, low=-inf, high=inf)
    mixed = variance + tau**2
    reach = sqrt(variance * mixed / tau**2 * (2.0 * log(1.0 / ALPHA) + log(mixed / variance)))
    return Estimate(value=look.difference, low=look.difference - reach, high=look.difference + reach)
