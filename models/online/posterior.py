"""From counts to beliefs: empirical Bayes with the model as prior, from all treatments down to one cell.

Let p be the model's propensity of an impression and m the multiplier on its odds, so that it is accepted with
p' = m p / (1 - p + m p). With m0 the multiplier it was served with, its *exposure* is x = p'(m0) / m0: at m = m0 the
expected acceptances are exactly m x, elsewhere to first order (one step of Fisher scoring, repeated as new impressions
are served with what the old ones taught). With X = sum of x over the impressions of a cell and S its acceptances

    S ~ Poisson(m X),   m ~ Gamma(shape nu, mean mu)   =>   m | S ~ Gamma(shape nu + S, mean mu (nu + S) / (nu + mu X)).

mu X is what the level above expects here, so this is Gamma(a + S, a + E) on the ratio to what is expected. The levels:
all of the version -> group -> offer -> treatment (an offer in a channel) -> segment; the mean of each is the mu of the
next. So a new offer begins as its group is, and a new group as the whole version. Of an offer that the model was not
fitted with ("untaught") the model's propensity is only a guess, so nu is smaller there, and it is left out where the
others' nu is estimated.

nu of a level says how alike its members are: Var(S/E) = 1/nu + 1/E for a ratio S/E whose parent is right, hence by
moments over the members, weighted by E (Clayton, Kaldor 1987; Marshall 1991),

    1/nu = (sum E (S/E - 1)**2 - n + w t) / (sum E + w),    within declared bounds,

where w expected acceptances of prior worth t keep it in place while there is little. A member's relative variance is
1/(nu + S) from its own level plus its parent's, as far as it leans on the parent:

    v = 1/(nu + S) + (nu / (nu + E))**2 v_parent,    shape = 1/v.

Delays: exposure counts at age step j with the part f_j of acceptances that come between steps j-1 and j. With r_j the
acceptances per exposure at step j, over all cells of a strategy, f_j = r_j / sum r (a life table: open impressions
count at the steps they have passed), each r_j leaning on equal parts as if c acceptances had been expected.

Sources: D. Clayton, J. Kaldor, Empirical Bayes estimates of age-standardized relative risks, Biometrics 43 (1987);
R. Marshall, Mapping disease and mortality rates using empirical Bayes estimators, JRSS C 40 (1991); W. DuMouchel,
Bayesian data mining in large frequency tables, The American Statistician 53 (1999); C. Vernade et al., UAI 2017.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indexes = NDArray[np.intp]

PRIOR_VARIANCES = {"group": 0.1, "offer": 0.15, "treatment": 0.05, "segment": 0.05}
"""Relative variance of a level's members before anything is known of it: t above."""
UNTAUGHT_VARIANCE = 1.0
"""Relative variance of an offer the model was not fitted with: its propensity is a guess from the offer's facts."""
PRIOR_WORTH = 20.0
"""How many expected acceptances that counts as: w above."""
LEAST_VARIANCE, MOST_VARIANCE = 0.005, 4.0
DELAY_WORTH = 2.0
"""How many expected acceptances the even delay counts as: c above."""
LEAST_EXPECTED = 1.0
"""Members of whom fewer acceptances are expected say nothing about how alike members are."""
LEAST_MULTIPLIER, MOST_MULTIPLIER = 0.01, 100.0
LEAST_SHAPE = 1.0
"""No belief is wider than that of one acceptance: draws from narrower shapes are no longer faithful."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Which offer each treatment belongs to, which group each offer, and which offers the model was not fitted with
    (None: no offer)."""

    offer_of: Indexes
    group_of: Indexes
    untaught: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """By treatment and segment: the multiplier's mean and the shape of its gamma distribution."""

    multipliers: Numbers
    shapes: Numbers


@dataclass(frozen=True, slots=True)
class _Level:
    means: Numbers
    variances: Numbers


def delay_shares(accepted: Numbers, exposed: Numbers) -> Numbers:
    """Which part of the acceptances comes at each step; sums over all cells, by step."""
    even = 1.0 / len(accepted)
    rates = (DELAY_WORTH * even + accepted) / (DELAY_WORTH + exposed)
    return np.asarray(rates / rates.sum(), np.float64)


def member_strength(accepted: Numbers, expected: Numbers, prior_variance: float) -> float:
    """nu of a level, by moments over its members."""
    counted = expected >= LEAST_EXPECTED
    seen, due = accepted[counted], expected[counted]
    spread = float((due * (seen / due - 1.0) ** 2).sum()) - len(due)
    variance = (max(spread, 0.0) + PRIOR_WORTH * prior_variance) / (float(due.sum()) + PRIOR_WORTH)
    return 1.0 / min(max(variance, LEAST_VARIANCE), MOST_VARIANCE)


def believe(accepted: Numbers, exposed: Numbers, hierarchy: Hierarchy, root_strength: float) -> Beliefs:
    """The beliefs of one model version; `accepted` and `exposed` by treatment and segment, delays taken into account.
    `root_strength` is how many acceptances the model's own level counts as."""
    level = _root(float(accepted.sum()), float(exposed.sum()), root_strength)
    of_offer = hierarchy.group_of
    by_treatment = accepted.sum(axis=1), exposed.sum(axis=1)
    by_offer = tuple(_summed(column, hierarchy.offer_of, len(of_offer)) for column in by_treatment)
    groups = int(of_offer.max()) + 1 if len(of_offer) else 0
    by_group = tuple(_summed(column, of_offer, groups) for column in by_offer)
    level = _below(level, np.zeros(groups, np.intp), by_group, "group")
    level = _below(level, of_offer, by_offer, "offer", hierarchy.untaught)
    level = _below(level, hierarchy.offer_of, by_treatment, "treatment")
    treatments, segments = accepted.shape
    parents = np.repeat(np.arange(treatments), segments)
    level = _below(level, parents, (accepted.ravel(), exposed.ravel()), "segment")
    return Beliefs(
        multipliers=np.clip(level.means, LEAST_MULTIPLIER, MOST_MULTIPLIER).reshape(treatments, segments),
        shapes=np.maximum(1.0 / level.variances, LEAST_SHAPE).reshape(treatments, segments),
    )


def _root(accepted: float, exposed: float, strength: float) -> _Level:
    mean = (strength + accepted) / (strength + exposed)
    return _Level(np.array([mean]), np.array([1.0 / (strength + accepted)]))


def _below(
    above: _Level, parents: Indexes, seen: tuple[Numbers, ...], name: str, untaught: NDArray[np.bool_] | None = None
) -> _Level:
    accepted, exposed = seen
    means = above.means[parents]
    expected = means * exposed
    strength: float | Numbers
    if untaught is None or not untaught.any():
        strength = member_strength(accepted, expected, PRIOR_VARIANCES[name])
    else:
        alike = member_strength(accepted[~untaught], expected[~untaught], PRIOR_VARIANCES[name])
        strength = np.where(untaught, min(alike, 1.0 / UNTAUGHT_VARIANCE), alike)
    leaning = strength / (strength + expected)
    return _Level(
        means=means * (strength + accepted) / (strength + expected),
        variances=1.0 / (strength + accepted) + leaning**2 * above.variances[parents],
    )


def _summed(column: Numbers, places: Indexes, size: int) -> Numbers:
    return np.bincount(places, column, size).astype(np.float64)
