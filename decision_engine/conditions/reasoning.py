"""Whether conditions can hold at all, always hold, or follow from one another.

Sound, not complete: what is called impossible, certain or implied is so for all facts; what is too intricate
(too many alternatives, relations between attributes) is called nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from decision_engine.conditions.requirements import Alternatives, Requirement, values_worth_trying

MOST_STEPS = 2_000
"""Combinations tried for one implication; beyond them it counts as not shown."""
MOST_TOGETHER = 256
"""Alternatives kept of several conditions together; a condition that would take more is left out."""


@dataclass(frozen=True, slots=True)
class Reasoner:
    """`values` are the only texts that an attribute can have, by name."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def together(self, tests: Iterable[Requirement], failing: Iterable[Requirement] = ()) -> bool:
        """Whether there may be facts for which all tests hold and none of the failing ones does."""
        holding, refused = tuple(tests), tuple(failing)
        texts = {test.text for test in holding}
        if not texts.isdisjoint(test.text for test in refused) or not texts.isdisjoint(
            test.opposite for test in holding if test.opposite is not None
        ):
            return False
        needed = {name for test in holding for name in test.needs}
        wanted, unwanted = _by_subject(holding), _by_subject(refused)
        return all(
            self._possible(subject, wanted.get(subject, []), unwanted.get(subject, []), known=subject in needed)
            for subject in wanted.keys() | unwanted.keys()
        )

    def possible(self, alternatives: Alternatives) -> bool:
        """Whether the condition may be true for some facts."""
        return any(self.together(tests) for tests in alternatives)

    def certain(self, alternatives: Alternatives) -> bool:
        """Whether the condition is true for all facts, unknown ones included."""
        return self.implies(((),), alternatives)

    def implies(self, first: Alternatives, second: Alternatives) -> bool:
        """Whether the second is true whenever the first is."""
        budget = [MOST_STEPS]
        return all(not self._escapes(tests, (), second, budget) for tests in first)

    def joined(self, first: Alternatives, second: Alternatives) -> Alternatives:
        """Both conditions together, what is impossible left out; only the first if that grows too large. What is
        joined to is possible already: begin with `((),)`."""
        if len(first) * len(second) > MOST_STEPS:
            return first
        both: dict[frozenset[str], tuple[Requirement, ...]] = {}
        for one, other in product(first, second):
            if self._compatible(one, other):
                texts = {test.text: test for test in (*one, *other)}
                both.setdefault(frozenset(texts), tuple(texts.values()))
        return first if len(both) > MOST_TOGETHER else tuple(both.values())

    def compatible(self, first: Alternatives, second: Alternatives) -> bool:
        """Whether both may hold together; the first is possible already."""
        return any(self._compatible(one, other) for one, other in product(first, second))

    def _compatible(self, one: Sequence[Requirement], other: Sequence[Requirement]) -> bool:
        """Only what is about the same can exclude each other."""
        about = {test.subject for test in other}.union(*(test.needs for test in other))
        return self.together((*other, *(t for t in one if t.subject in about or not about.isdisjoint(t.needs))))

    def core(self, tests: Sequence[Requirement]) -> tuple[Requirement, ...]:
        """Of tests that cannot hold together, as few as still cannot."""
        kept = list(tests)
        for test in tests:
            others = [other for other in kept if other is not test]
            if not self.together(others):
                kept = others
        return tuple(kept)

    def _escapes(
        self, holding: Sequence[Requirement], failing: tuple[Requirement, ...], rest: Alternatives, budget: list[int]
    ) -> bool:
        """Whether all of `rest` may be untrue while the tests hold: in each of them one test must fail."""
        budget[0] -= 1
        if budget[0] < 0:
            return True
        if not self.together(holding, failing):
            return False
        if not rest:
            return True
        return any(self._escapes(holding, (*failing, test), rest[1:], budget) for test in rest[0])

    def _possible(
        self, subject: str, wanted: Sequence[Requirement], refused: Sequence[Requirement], *, known: bool
    ) -> bool:
        tests = (*wanted, *refused)
        known = known or any(test.always_known for test in tests)
        return any(
            all(test.admits(value) for test in wanted) and all(test.may_fail(value) for test in refused)
            for value in values_worth_trying(tests, self.values.get(subject, ()))
            if value is not None or not known
        )


def _by_subject(tests: Iterable[Requirement]) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = defaultdict(list)
    for test in tests:
        found[test.subject].append(test)
    return found
