"""Sensitive attributes decide nothing, and neither does anything of who refused personalisation: shown in pairs.

Of each pair one customer has other sensitive values than the other, or, having refused personalisation, other values of
everything that no gate reads. Both must get the same answer. `python -m loadtests.sensitive_flips`
"""

import argparse
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.features.definitions import AttributeInfo, AttributeType, Value
from decision_engine.identifiers import CustomerId, DecisionId
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

DEMO = Path(__file__).parents[1] / "deploy" / "strategies" / "demo_bank"
NOW = 1_795_254_600_123
PAIRS = 10_000
_DAY = 86_400_000
Other = Callable[[Mapping[str, Value]], dict[str, Value]]
"""From a customer's attributes to those of the other one of a pair."""


@dataclass(frozen=True, slots=True)
class Found:
    """Pairs with different answers, of how many, and how many offers were made altogether."""

    different: int
    pairs: int
    offers: int


def flip_sensitive(pairs: int, seed: int = 1) -> Found:
    """Pairs that differ in sensitive attributes alone."""
    prepared, rng = prepare(load_strategy_file(DEMO)), random.Random(seed)
    sensitive = [info for info in prepared.strategy.dictionary.values() if info.sensitive]
    if not sensitive:
        raise ValueError("the strategy has no sensitive attribute to flip")

    def other(attributes: Mapping[str, Value]) -> dict[str, Value]:
        return dict(attributes) | {info.name: _another(info, prepared.strategy, attributes, rng) for info in sensitive}

    return _compared(prepared, rng, pairs, {"marketing": True, "personalisation": True}, other)


def permute_refused(pairs: int, seed: int = 2) -> Found:
    """Pairs who refused personalisation and differ in everything that no gate reads."""
    prepared, rng = prepare(load_strategy_file(DEMO)), random.Random(seed)
    free = [info for name, info in prepared.strategy.dictionary.items() if name not in prepared.gate_attributes]

    def other(attributes: Mapping[str, Value]) -> dict[str, Value]:
        return dict(attributes) | {info.name: _value(info, prepared.strategy, rng) for info in free}

    return _compared(prepared, rng, pairs, {"marketing": True, "personalisation": False}, other)


def main() -> int:
    """Both; the exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    pairs = parser.parse_args().pairs
    flipped, permuted = flip_sensitive(pairs), permute_refused(pairs)
    print(f"sensitive attributes flipped: {flipped.different} of {flipped.pairs} answers changed")
    print(f"features of who refused permuted: {permuted.different} of {permuted.pairs} answers changed")
    print(f"{flipped.offers + permuted.offers} offers were made")
    made = min(flipped.offers, permuted.offers) > pairs / 10
    return 0 if made and not flipped.different and not permuted.different else 1


def _compared(
    prepared: PreparedStrategy, rng: random.Random, pairs: int, consents: Mapping[str, bool], other: Other
) -> Found:
    different = offers = 0
    places = list(prepared.strategy.placements.values())
    dictionary = list(prepared.strategy.dictionary.values())
    for number in range(pairs):
        place = rng.choice(places)
        attributes = {info.name: _value(info, prepared.strategy, rng) for info in dictionary if rng.random() < 0.95}
        request = DecisionRequest(
            decision_id=DecisionId(f"D{number}"),
            customer_id=CustomerId(f"retail:{number}"),
            channel=place.channel,
            placements=(PlacementRequest(id=place.id, count=place.max_count),),
            now_ms=NOW,
        )
        answers = [_decided(prepared, request, consents, each) for each in (attributes, other(attributes))]
        different += _answer(answers[0]) != _answer(answers[1])
        offers += sum(len(place.options) for place in answers[0].placements)
    return Found(different, pairs, offers)


def _decided(
    prepared: PreparedStrategy, request: DecisionRequest, consents: Mapping[str, bool], attributes: Mapping[str, Value]
) -> Decision:
    customer = CustomerSnapshot(known=True, attributes=attributes, consents=consents)
    draft = decide(prepared, request, customer, (), {})
    return settle(prepared, draft, _first_free(draft.reservation.positions))


def _first_free(positions: Sequence[Sequence[object]]) -> list[int | None]:
    """As an empty ledger reserves: the best of each seat that is not given yet."""
    taken: list[int | None] = []
    given: set[int] = set()
    for seats in positions:
        free = [n for n, seat in enumerate(seats) if seat.offer not in given]  # type: ignore[attr-defined]
        taken.append(free[0] if free else None)
        given |= {seats[n].offer for n in free[:1]}  # type: ignore[attr-defined]
    return taken


def _answer(decision: Decision) -> object:
    """What the channel gets, with the fate of every candidate."""
    return decision.placements, decision.candidates, decision.arm, decision.personalised


def _value(info: AttributeInfo, strategy: Strategy, rng: random.Random) -> Value:
    """A value such as the attribute may have."""
    known = next((a.values for a in strategy.declarations.profile if a.name == info.name and a.values), ())
    if known:
        return rng.choice(known)
    if info.type is AttributeType.BOOL:
        return rng.random() < 0.5
    if info.type is AttributeType.TIMESTAMP:
        return NOW + rng.randrange(-400, 60) * _DAY
    if info.type is AttributeType.STRING:
        return rng.choice(("a", "b", "R3", "C3"))
    number = rng.choice((0, 1, 2, 5, 18, 35, 60, 700, 10_000, 1_000_000, 60_000_000))
    return number if info.type is AttributeType.INT else number * rng.random()


def _another(info: AttributeInfo, strategy: Strategy, attributes: Mapping[str, Value], rng: random.Random) -> Value:
    """A value that the customer does not have."""
    while (found := _value(info, strategy, rng)) == attributes.get(info.name):
        pass
    return found


if __name__ == "__main__":
    sys.exit(main())
