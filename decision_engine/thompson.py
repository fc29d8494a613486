"""Thompson sampling: a candidate is chosen as often as it is the best under what is still believed possible.

What is believed of a treatment's propensity is a beta distribution: the model's propensity p counts as `prior_strength`
impressions, of which p x prior_strength were accepted; impressions and acceptances seen are added to it. Where the
strategy learns online it is a gamma distribution of the multiplier on the model's odds instead (`models.online`). In
one round every candidate's propensity is drawn from its distribution, and the one of the highest priority wins.

The policy: `rounds` rounds are played, drawn from the decision's seed, and one of them, drawn uniformly, decides. So
the share of the rounds a candidate won is exactly its selection probability given the rounds, and the mean of that
share over decisions is the probability of Thompson sampling itself. A share of 0 means that it could not be chosen in
this decision: estimators need no correction, they have no support there.

Source: W. R. Thompson, On the likelihood that one unknown probability exceeds another, Biometrika 25 (1933). A beta
variate is G1 / (G1 + G2) of two gamma variates, each by the Wilson-Hilferty cube root of a normal one: E. B. Wilson,
M. M. Hilferty, The distribution of chi-square, PNAS 17 (1931). The mean is kept to a hundredth of itself from one
accepted impression on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.draws import standard_normals
from decision_engine.identifiers import TreatmentName

Numbers = NDArray[np.float64]

_LEAST_SHAPE = 1e-9
"""A gamma distribution needs a positive shape; an impossible acceptance stays as good as impossible."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was seen of a treatment; effective numbers, which decay or weights may have made fractions."""

    impressions: float
    accepts: float


Evidence = Mapping[TreatmentName, Counts]
"""Counts by treatment; one that is not in it was never seen. A scorer that learns online carries one as `evidence`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """Per candidate, the best first: the parameters of its propensity's beta distribution, the propensity its priority
    was made with, that priority, and what the priority gains by per unit of propensity."""

    accepted: Numbers
    declined: Numbers
    propensity: Numbers
    priorities: Numbers
    worths: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Posteriors:
    """Per candidate, the best first: the odds that are expected and the shape of the gamma distribution they have,
    and the rest as of `Beliefs`."""

    odds: Numbers
    shapes: Numbers
    propensity: Numbers
    priorities: Numbers
    worths: Numbers


def believe(propensity: Numbers, seen: Numbers, accepts: Numbers, prior_strength: float) -> tuple[Numbers, Numbers]:
    """The two parameters of the beta distributions: acceptances and refusals, prior ones included."""
    accepted = prior_strength * propensity + accepts
    declined = prior_strength * (1.0 - propensity) + np.maximum(seen - accepts, 0.0)
    return np.maximum(accepted, _LEAST_SHAPE), np.maximum(declined, _LEAST_SHAPE)


def thompson_chances(beliefs: Beliefs, seed: str, label: str, rounds: int) -> Numbers:
    """The share of the rounds that each candidate wins; ties go to the first."""
    drawn = sample_betas(beliefs.accepted, beliefs.declined, seed, label, rounds)
    return _shares_won(drawn, beliefs)


def posterior_chances(beliefs: Posteriors, seed: str, label: str, rounds: int) -> Numbers:
    """The same where online learning says what is believed: a multiplier on the model's odds, drawn from its gamma
    distribution."""
    drawn = sample_multiplied(beliefs.odds, beliefs.shapes, seed, label, rounds)
    return _shares_won(drawn, beliefs)


def sample_multiplied(odds: Numbers, shapes: Numbers, seed: str, label: str, rounds: int) -> Numbers:
    """Draws of the propensities whose odds are expected to be `odds`, a row a round."""
    normals = standard_normals(seed, label, rounds * len(odds)).reshape(rounds, len(odds))
    raised = odds * _gammas(shapes, normals) / shapes
    return np.asarray(raised / (1.0 + raised), np.float64)


def _shares_won(drawn: Numbers, beliefs: Beliefs | Posteriors) -> Numbers:
    priorities = beliefs.priorities + (drawn - beliefs.propensity) * beliefs.worths
    wins = np.bincount(priorities.argmax(axis=1), minlength=len(beliefs.priorities))
    return np.asarray(wins / len(drawn), np.float64)


def sample_betas(accepted: Numbers, declined: Numbers, seed: str, label: str, rounds: int) -> Numbers:
    """Draws from the beta distributions, a row a round."""
    normals = standard_normals(seed, label, 2 * rounds * len(accepted)).reshape(2, rounds, len(accepted))
    good, bad = _gammas(accepted, normals[0]), _gammas(declined, normals[1])
    return np.asarray(good / (good + bad), np.float64)


def _gammas(shapes: Numbers, normals: Numbers) -> Numbers:
    roots = np.maximum(1.0 - 1.0 / (9.0 * shapes) + normals / (3.0 * np.sqrt(shapes)), 0.0)
    return np.asarray(np.maximum(shapes * roots * roots * roots, _LEAST_SHAPE), np.float64)
