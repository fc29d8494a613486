"""Which conjunctions are still possible, given the products a customer holds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.conditions.atoms import HoldingTest


@dataclass(frozen=True, slots=True)
class HoldingMasks:
    """`granting[k]`: product to the conjunctions whose k-th required product it is; `needing_none[k]`: those
    that require no k-th product. `forbidding`: product to the conjunctions that remain when it is held.
    The work grows with the products held, not with the products known."""

    granting: tuple[Mapping[str, int], ...]
    needing_none: tuple[int, ...]
    forbidding: Mapping[str, int]

    def mask(self, holdings: frozenset[str]) -> int:
        """The conjunctions that these holdings leave possible."""
        alive = -1
        for product in holdings:
            remaining = self.forbidding.get(product)
            if remaining is not None:
                alive &= remaining
        for granting, granted in zip(self.granting, self.needing_none, strict=True):
            for product in holdings:
                granted |= granting.get(product, 0)  # noqa: PLW2901 - begins with those that need nothing
            alive &= granted
        return alive


def holding_masks(tests: Mapping[int, Sequence[HoldingTest]], everything: int) -> HoldingMasks:
    """Prepares the masks; `tests` maps the bit of a conjunction to its tests."""
    granting: list[dict[str, int]] = []
    needing: list[int] = []
    forbidding: dict[str, int] = defaultdict(lambda: everything)
    for bit, each in tests.items():
        required = sorted({test.product for test in each if test.held})
        for position, product in enumerate(required):
            if position == len(granting):
                granting.append({})
                needing.append(0)
            granting[position][product] = granting[position].get(product, 0) | 1 << bit
            needing[position] |= 1 << bit
        for test in each:
            if not test.held:
                forbidding[test.product] &= ~(1 << bit)
    return HoldingMasks(tuple(granting), tuple(everything & ~mask for mask in needing), dict(forbidding))
