"""All conditions of a strategy answered at once: one bit a rule.

Each rule becomes one or a few conjunctions. Where many numeric attributes are tested, the intervals their values must
lie in are compared all together. For the rest, per attribute, the value picks a prepared mask of the conjunctions it
leaves possible; the AND over all is what remains. Tests that fit no mask (arithmetic, two attributes against
each other, parts of texts) are evaluated one by one, and only for conjunctions that remain.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.conditions.atoms import AttributeTest, HoldingTest, indexable
from decision_engine.conditions.attribute_masks import LookupMasks, ThresholdMasks, lookup_masks, threshold_masks
from decision_engine.conditions.check import CheckedExpression
from decision_engine.conditions.evaluation import Facts, Missing, compile_expression, well_typed
from decision_engine.conditions.folding import fold
from decision_engine.conditions.holding_masks import HoldingMasks, holding_masks
from decision_engine.conditions.interval_tests import IntervalTests, separate_intervals
from decision_engine.conditions.normal_form import Atom, Conjunction, disjunctive_form
from decision_engine.conditions.rendering import render
from decision_engine.conditions.straight_line import Tests, compile_tests
from decision_engine.conditions.syntax import Unary
from decision_engine.conditions.threshold_groups import ThresholdGroup, group_thresholds
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import Value

MOST_CONJUNCTIONS = 32
"""A rule that would need more alternatives is evaluated as written."""
SHARED_BY = 4
"""A computed test that so many conjunctions share is evaluated once, up front."""

_Evaluate = Callable[[Facts], Value | Missing]


@dataclass(frozen=True, slots=True)
class _Shared:
    """A computed test that several conjunctions need."""

    evaluate: _Evaluate
    unless_true: int
    """Conjunctions that remain possible when it is not true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredicateIndex:
    """Rules compiled together. Bit i of every rule mask is the i-th rule given to `build`.

    A rule's first conjunction has the rule's own bit; further alternatives follow above the rules' bits.
    """

    size: int
    possible: int
    intervals: IntervalTests | None
    thresholds: tuple[ThresholdGroup, ...]
    lookups: tuple[LookupMasks, ...]
    holdings: HoldingMasks | None
    shared: tuple[_Shared, ...]
    remaining: int
    """Conjunctions with tests of their own left to evaluate."""
    remainders: dict[int, tuple[_Evaluate, ...]]
    remainders_at_once: Tests
    """Of many the same tests, those of all conjunctions, as straight code: the conjunctions that pass theirs."""
    owners: tuple[int, ...]
    """For each further conjunction the mask of its rule."""
    kinds: Mapping[str, Kind]

    @classmethod
    def build(cls, rules: Sequence[CheckedExpression]) -> "PredicateIndex":
        """Compiles boolean expressions; whichever forms they take, all of them can be evaluated."""
        return _Builder(rules).index()

    def evaluate(self, facts: Facts, only: int | None = None) -> int:
        """The rules that are true, as a bit mask; with `only` no other rule is looked at or reported.

        A value that cannot be compared because it is not of its declared type counts as unknown.
        """
        try:
            return self._evaluate(facts, only)
        except TypeError:
            return self._evaluate(well_typed(facts, self.kinds), only)

    def evaluate_all(self, facts: Sequence[Facts]) -> list[int]:
        """For each of many what `evaluate` says of it alone; the intervals of all are compared together."""
        try:
            masks = [-1] * len(facts) if self.intervals is None else self.intervals.masks([f.values for f in facts])
            return [self._narrowed_at_once(self.possible & mask, f) for mask, f in zip(masks, facts, strict=True)]
        except TypeError:
            return [self.evaluate(each) for each in facts]

    def _evaluate(self, facts: Facts, only: int | None) -> int:
        alive = self.possible
        if only is not None:
            alive &= only | (-1 << self.size)
        if self.intervals is not None:
            alive &= self.intervals.mask(facts.values)
        return self._narrowed(alive, facts, only)

    def _narrowed(self, alive: int, facts: Facts, only: int | None) -> int:
        """What all but the intervals leave of the conjunctions, as rules."""
        alive = self._prepared(alive, facts)
        if alive & self.remaining:
            alive = self._without_failing(alive, facts, only)
        if alive >> self.size:
            alive = self._with_owners(alive)
        return alive if only is None else alive & only

    def _narrowed_at_once(self, alive: int, facts: Facts) -> int:
        """The same, for who asks again and again: which tests are left is not looked into."""
        alive = self._prepared(alive, facts)
        if alive & self.remaining:
            alive &= ~self.remaining | self.remainders_at_once(facts.values, facts.holdings, facts.now_ms)
        return self._with_owners(alive) if alive >> self.size else alive

    def _prepared(self, alive: int, facts: Facts) -> int:
        """What the prepared masks and the tests that several share leave of the conjunctions."""
        get = facts.values.get
        for entry in self.lookups:
            alive &= entry.masks.get(get(entry.attribute), entry.others)
        for group in self.thresholds:
            alive &= ~group.ruled_out(get)
        if self.holdings is not None:
            alive &= self.holdings.mask(facts.holdings)
        for shared in self.shared:
            if alive & ~shared.unless_true and shared.evaluate(facts) is not True:
                alive &= shared.unless_true
        return alive

    def _without_failing(self, alive: int, facts: Facts, only: int | None) -> int:
        for bit in _bits(alive & self.remaining):
            if only is not None and bit >= self.size and not self.owners[bit - self.size] & only:
                continue
            for test in self.remainders[bit]:
                if test(facts) is not True:
                    alive &= ~(1 << bit)
                    break
        return alive

    def _with_owners(self, alive: int) -> int:
        rules, further, owners = alive & ((1 << self.size) - 1), alive >> self.size, self.owners
        while further:
            lowest = further & -further
            rules |= owners[lowest.bit_length() - 1]
            further ^= lowest
        return rules


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class _Builder:
    """Lays the conjunctions out on bits and sorts their tests by what can answer them."""

    def __init__(self, rules: Sequence[CheckedExpression]) -> None:
        self._size = len(rules)
        self._possible = 0
        self._owners: list[int] = []
        self._kinds: dict[str, Kind] = {}
        self._tests: dict[str, dict[int, list[AttributeTest]]] = defaultdict(lambda: defaultdict(list))
        self._holdings: dict[int, list[HoldingTest]] = defaultdict(list)
        self._computed: dict[str, list[int]] = defaultdict(list)
        self._evaluators: dict[str, _Evaluate] = {}
        self._expressions: dict[str, CheckedExpression] = {}
        for number, rule in enumerate(rules):
            self._add_rule(number, rule)

    def index(self) -> PredicateIndex:
        """The finished index."""
        everything = (1 << (self._size + len(self._owners))) - 1
        shared, remainders = self._sorted_computed(everything)
        intervals = separate_intervals(self._tests, self._kinds, self._size + len(self._owners))
        lookups = [self._lookup(name, everything) for name in self._tests if not self._is_number(name)]
        numbers = [self._thresholds(name, everything) for name in self._tests if self._is_number(name)]
        return PredicateIndex(
            size=self._size,
            possible=self._possible,
            intervals=intervals,
            thresholds=group_thresholds(numbers, self._size + len(self._owners)),
            lookups=tuple(lookups),
            holdings=holding_masks(self._holdings, everything) if self._holdings else None,
            shared=shared,
            remaining=sum(1 << bit for bit in remainders),
            remainders=remainders,
            remainders_at_once=self._remainders_at_once(remainders),
            owners=tuple(self._owners),
            kinds=self._kinds,
        )

    def _add_rule(self, number: int, rule: CheckedExpression) -> None:
        self._kinds.update(rule.types)
        folded = fold(rule.expression)
        conjunctions = disjunctive_form(folded, MOST_CONJUNCTIONS)
        if conjunctions is None:
            conjunctions = ((Atom(folded, negated=False),),)
        for position, conjunction in enumerate(conjunctions):
            bit = number
            if position > 0:
                bit = self._size + len(self._owners)
                self._owners.append(1 << number)
            self._possible |= 1 << bit
            self._add_conjunction(bit, conjunction, rule)

    def _add_conjunction(self, bit: int, conjunction: Conjunction, rule: CheckedExpression) -> None:
        for atom in conjunction:
            match indexable(atom, rule.types):
                case AttributeTest() as test:
                    self._tests[test.attribute][bit].append(test)
                case HoldingTest() as test:
                    self._holdings[bit].append(test)
                case None:
                    # Told apart by text: as keys, the literals 1, 1.0 and true would be equal.
                    key = ("!" if atom.negated else "") + f"({render(atom.expression)})"
                    self._computed[key].append(bit)
                    if key not in self._evaluators:
                        self._expressions[key] = _expression(atom, rule)
                        self._evaluators[key] = compile_expression(self._expressions[key])

    def _sorted_computed(self, everything: int) -> tuple[tuple[_Shared, ...], dict[int, tuple[_Evaluate, ...]]]:
        shared: list[_Shared] = []
        remainders: dict[int, tuple[_Evaluate, ...]] = {}
        for key, bits in self._computed.items():
            evaluate, users = self._evaluators[key], set(bits)
            if len(users) >= SHARED_BY:
                shared.append(_Shared(evaluate, everything & ~sum(1 << bit for bit in users)))
                continue
            for bit in users:
                remainders[bit] = (*remainders.get(bit, ()), evaluate)
        return tuple(shared), remainders

    def _remainders_at_once(self, bits: Collection[int]) -> Tests:
        keys = {bit: [key for key, users in self._computed.items() if bit in users] for bit in sorted(bits)}
        own = {key for key, users in self._computed.items() if len(set(users)) < SHARED_BY}
        tests = [(1 << bit, [self._expressions[key] for key in mine if key in own]) for bit, mine in keys.items()]
        return compile_tests(tests)

    def _is_number(self, attribute: str) -> bool:
        return self._kinds[attribute] not in (Kind.STRING, Kind.BOOL)

    def _lookup(self, attribute: str, everything: int) -> LookupMasks:
        return lookup_masks(attribute, self._tests[attribute], everything)

    def _thresholds(self, attribute: str, everything: int) -> ThresholdMasks:
        return threshold_masks(attribute, self._kinds[attribute], self._tests[attribute], everything)


def _expression(atom: Atom, rule: CheckedExpression) -> CheckedExpression:
    expression = atom.expression
    if atom.negated:
        expression = Unary(operator="!", operand=expression, position=expression.position)
    return CheckedExpression(expression=expression, type=Kind.BOOL, types=rule.types)
