"""What a unit of a scarce resource is worth: the dual prices of a linear programme over recent traffic.

    maximise    sum v_ij x_ij                 the expected value of what is offered
    subject to  sum_j x_ij <= places_i        an opportunity shows so many options
                sum u_ijr x_ij <= b_r         no resource is used beyond what is left for these opportunities
                0 <= x_ij <= 1

The dual of a resource's row is what one unit more would bring. Whoever subtracts price times use from each option's
value and takes the best of what stays above zero makes the programme's own choices, ties apart, without solving it:
that is how prices learnt from past traffic decide new traffic (bid-price control; Talluri and van Ryzin, "An Analysis
of Bid-Price Controls for Network Revenue Management", Management Science 44, 1998). Solved by HiGHS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from models.errors import ModelsError

Floats = NDArray[np.float64]


class PricesUnsolved(ModelsError):
    """The linear programme has no solution that could be found."""


@dataclass(frozen=True, slots=True)
class ScarceOption:
    """Something that could have been offered: its expected value, and the units it is expected to take."""

    value: float
    uses: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Opportunity:
    """One question with the options there were, and how many of them had a place."""

    options: tuple[ScarceOption, ...]
    places: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedTraffic:
    """The optimum over these opportunities: its value, the price of a unit of each resource, and the units used."""

    value: float
    prices: Mapping[str, float]
    used: Mapping[str, float]


def price_traffic(opportunities: Sequence[Opportunity], units: Mapping[str, float]) -> PricedTraffic:
    """The optimum where so many `units` of each resource are there for these opportunities altogether.

    An option that takes from a resource that is not among `units` is limited by the others only. Raises PricesUnsolved.
    """
    resources = sorted(units)
    columns = [(row, option) for row, seen in enumerate(opportunities) for option in seen.options if option.value > 0]
    if not columns or not resources:
        return PricedTraffic(value=0.0, prices=dict.fromkeys(resources, 0.0), used=dict.fromkeys(resources, 0.0))
    values = np.array([option.value for _, option in columns])
    matrix = _rows(columns, len(opportunities), resources)
    bounds = np.array([float(c.places) for c in opportunities] + [max(0.0, units[name]) for name in resources])
    # Values of very different size in one programme: scaled to about 1, prices are scaled back.
    scale = float(values.max())
    solved = linprog(-values / scale, A_ub=matrix, b_ub=bounds, bounds=(0.0, 1.0), method="highs")
    if solved.status != 0:
        raise PricesUnsolved(f"no prices: {solved.message}")
    chosen = np.asarray(solved.x, dtype=np.float64)
    duals = np.asarray(solved.ineqlin.marginals, dtype=np.float64)[len(opportunities) :]
    used = (matrix @ chosen)[len(opportunities) :]
    return PricedTraffic(
        value=float(values @ chosen),
        prices={name: max(0.0, -float(dual)) * scale for name, dual in zip(resources, duals, strict=True)},
        used={name: float(amount) for name, amount in zip(resources, used, strict=True)},
    )


def smoothed(earlier: Mapping[str, float], newest: Mapping[str, float], weight: float) -> dict[str, float]:
    """The newest prices with what earlier ones know: an exponentially weighted mean. A resource priced for the first
    time has its newest price."""
    return {name: weight * price + (1 - weight) * earlier.get(name, price) for name, price in newest.items()}


def _rows(columns: Sequence[tuple[int, ScarceOption]], opportunities: int, resources: Sequence[str]) -> csr_array:
    """One row an opportunity, then one a resource; sparse, as each option touches two or three."""
    place = {name: opportunities + number for number, name in enumerate(resources)}
    entries = [(row, column, 1.0) for column, (row, _) in enumerate(columns)]
    entries += [
        (place[name], column, amount)
        for column, (_, option) in enumerate(columns)
        for name, amount in option.uses.items()
        if name in place
    ]
    rows, cols, data = zip(*entries, strict=True)
    return csr_array((data, (rows, cols)), shape=(opportunities + len(resources), len(columns)))
