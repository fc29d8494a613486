"""What two strategies decide alike, so that of the same person it is found out once for both.

Told by what they declare: everything must be equal but what is known to have no part in it.
"""

from dataclasses import dataclass, replace

from decision_engine.identifiers import StrategyVersion
from decision_engine.strategy import Strategy

_NO_VERSION = StrategyVersion("")


@dataclass(frozen=True, slots=True)
class Likeness:
    """`gates`: who may be offered what, contacts and volumes included, given the same state, contacts and volumes.
    `scores`: propensities, given the same models as well; never without `gates`."""

    gates: bool
    scores: bool


DIFFERENT = Likeness(gates=False, scores=False)


def likeness(one: Strategy, other: Strategy) -> Likeness:
    """What both decide alike. Values, base rates, levers, weights, reasons, ramps, exploration and the rules of slates
    keep nobody from an offer; of these only values and base rates have a part in propensities."""
    other = replace(other, exploration=one.exploration, slate=one.slate, texts=one.texts)
    gates = _without_worth(one, rates=False) == _without_worth(other, rates=False)
    return Likeness(gates=gates, scores=gates and _without_worth(one, rates=True) == _without_worth(other, rates=True))


def _without_worth(strategy: Strategy, *, rates: bool) -> Strategy:
    offers = [replace(offer, lever=0.0, context_weights=(), reasons=(), ramp=None) for offer in strategy.offers]
    if not rates:
        offers = [replace(offer, value=0, base_rate=0.0) for offer in offers]
    ordered = tuple(sorted(offers, key=lambda offer: offer.name))
    return replace(strategy, offers=ordered, levers=(), version=_NO_VERSION)
