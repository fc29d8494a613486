"""Who is served by which version of a model: the one in service, or for a share of the customers its challenger.

The share a customer belongs to depends on the customer and the challenging version alone, so a person meets one version
for as long as it challenges, on every node; a larger share keeps those of the smaller one. The record of a decision
names the version that scored it, and is computed again with that.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from decision_engine.draws import draw_fraction
from decision_engine.identifiers import CustomerId
from decision_engine.propensity import Scorer, Scorers


@dataclass(frozen=True, slots=True)
class Challenger:
    """A scorer for a share of the customers, above 0 and below 1."""

    scorer: Scorer
    share: float

    def serves(self, customer_id: CustomerId) -> bool:
        """Whether this customer belongs to the share."""
        return draw_fraction(customer_id, f"challenger {self.scorer.version}") < self.share


@dataclass(frozen=True, slots=True)
class Shadow:
    """A scorer that decides nothing, and the share of decisions it is asked about at most."""

    scorer: Scorer
    sample: float


class SharedScorers(Mapping[str, Scorer]):
    """The scorers in service (that is the mapping), some of them with a challenger."""

    __slots__ = ("_challengers", "_champions")

    def __init__(self, champions: Scorers, challengers: Mapping[str, Challenger]) -> None:
        self._champions = champions
        self._challengers = challengers

    def __getitem__(self, name: str) -> Scorer:
        return self._champions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._champions)

    def __len__(self) -> int:
        return len(self._champions)

    def of(self, customer_id: CustomerId) -> Scorers:
        """The scorers for one customer."""
        chosen = {name: rival.scorer for name, rival in self._challengers.items() if rival.serves(customer_id)}
        return {**self._champions, **chosen} if chosen else self._champions

    def where(self, fits: Callable[[Scorer], bool]) -> Scorers:
        """Those that fit, with their challengers that fit."""
        champions = {name: scorer for name, scorer in self._champions.items() if fits(scorer)}
        rivals = {n: rival for n, rival in self._challengers.items() if n in champions and fits(rival.scorer)}
        return SharedScorers(champions, rivals) if rivals else champions


def scorers_where(scorers: Scorers, fits: Callable[[Scorer], bool]) -> Scorers:
    """The scorers that fit, challengers included."""
    if isinstance(scorers, SharedScorers):
        return scorers.where(fits)
    return {name: scorer for name, scorer in scorers.items() if fits(scorer)}


def scorers_for(scorers: Scorers, customer_id: CustomerId) -> Scorers:
    """The scorers that serve this customer."""
    return scorers.of(customer_id) if isinstance(scorers, SharedScorers) else scorers
