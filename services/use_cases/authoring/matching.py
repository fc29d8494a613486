"""How many customers a condition holds for now, and who: it is asked of recorded states, all of them or a sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from decision_engine.conditions.check import CheckedExpression
from decision_engine.conditions.evaluation import MISSING, compile_expression
from decision_engine.conditions.facts import Facts
from decision_engine.conditions.names import CHANNEL
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Value
from decision_engine.features.snapshot import read_snapshot
from decision_engine.triggers.guards import EVENT_PREFIX
from models.evaluation.full_report.binomial_interval import rate_estimate
from models.evaluation.intervals import Estimate

MOST_SHOWN = 50
MOST_LOOKED_AT = 2_000
"""States a question looks at: about a fifth of a second of a processor."""


@dataclass(frozen=True, slots=True)
class SampledStates:
    """Stored states of customers drawn without regard to what is in them. `population` is how many there are in all;
    exact when all were drawn, else estimated from the part of the store that was walked."""

    states: Sequence[tuple[str, bytes]]
    population: int
    whole: bool


class CustomerSample(Protocol):
    """Recorded states of customers. Raises StoreUnavailable."""

    async def sample(self, layout: str, most: int) -> SampledStates:
        """At most so many states of the layout."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A customer the condition holds for, with the attributes it reads."""

    customer_id: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What a condition came to. `untold` are customers of whom something it needs is not known; `customers` estimates
    how many of the whole population it holds for. `elsewhere` are names that only a request or another subject can
    tell, so that nobody here can match by them."""

    looked_at: int
    population: int
    whole: bool
    matched: int
    untold: int
    customers: Estimate
    shown: tuple[Match, ...]
    names: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()

    @property
    def of_event(self) -> tuple[str, ...]:
        """Those of them that a trigger's event tells as it happens."""
        return tuple(name for name in self.elsewhere if name.startswith(EVENT_PREFIX))

    @property
    def of_others(self) -> tuple[str, ...]:
        """Those that a request or another subject tells."""
        return tuple(name for name in self.elsewhere if not name.startswith(EVENT_PREFIX))


@dataclass(slots=True)
class MatchCount:
    """Takes in states bit by bit, so that whoever counts can let others run in between."""

    condition: CheckedExpression
    features: CompiledFeatures
    now_ms: int
    keep: Callable[[str], bool] = lambda _: True
    looked_at: int = 0
    matched: int = 0
    untold: int = 0
    shown: list[Match] = field(default_factory=list)
    _holds: Callable[[Facts], object] | None = None

    def take(self, states: Sequence[tuple[str, bytes]]) -> None:
        """Asks the condition of each. A state that cannot be read is one that cannot be told."""
        holds = self._holds = self._holds or compile_expression(self.condition)
        for customer, state in states:
            try:
                snapshot = read_snapshot(self.features, state, self.now_ms)
            except Exception:  # noqa: BLE001 - one damaged state must not hide what the others say
                self.looked_at, self.untold = self.looked_at + 1, self.untold + 1
                continue
            if not snapshot.known:
                continue
            self.looked_at += 1
            answer = holds(Facts(snapshot.attributes, snapshot.holdings, self.now_ms))
            if answer is True:
                self._note(customer, snapshot.attributes)
            elif answer is MISSING:
                self.untold += 1

    def _note(self, customer: str, attributes: Mapping[str, Value]) -> None:
        self.matched += 1
        if len(self.shown) < MOST_SHOWN:
            names = sorted(self.condition.names)
            self.shown.append(
                Match(customer_id=customer, values={name: attributes[name] for name in names if name in attributes})
            )

    def result(self, population: int, *, whole: bool) -> Matches:
        """What it came to, for a population of that size."""
        names = tuple(sorted(self.condition.names))
        return Matches(
            looked_at=self.looked_at,
            population=self.looked_at if whole else max(population, self.looked_at),
            whole=whole,
            matched=self.matched,
            untold=self.untold,
            customers=_extrapolated(self.matched, self.looked_at, population, whole=whole),
            shown=tuple(sorted(self.shown, key=lambda match: match.customer_id)),
            names=names,
            elsewhere=tuple(name for name in names if _is_elsewhere(name, self.features)),
        )


def _extrapolated(matched: int, looked_at: int, population: int, *, whole: bool) -> Estimate:
    """Exact over everybody; from a sample with the 95 % interval of its rate."""
    if whole or not looked_at:
        return Estimate(value=matched, low=matched, high=matched)
    rate = rate_estimate(matched, looked_at)
    return Estimate(value=rate.value * population, low=rate.low * population, high=rate.high * population)


def _is_elsewhere(name: str, features: CompiledFeatures) -> bool:
    return name == CHANNEL or name.startswith("context.") or name not in features.infos
