"""What a condition asks of the facts, as tests that reasoning can compare.

A test is about one subject: an attribute, a product, or an expression that is computed from several. Whatever values
the subject can have at all, only a few make a difference to the tests about it: the constants they name and their
neighbours. So whether tests can hold together is answered by trying those.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.conditions.atoms import (
    AttributeTest,
    HoldingTest,
    constant_test,
    constant_value,
    indexable,
    mirrored,
    negated,
    reads_facts,
)
from decision_engine.conditions.bounds import bounds_of
from decision_engine.conditions.check import NOW, CheckedExpression
from decision_engine.conditions.folding import fold
from decision_engine.conditions.normal_form import Atom, disjunctive_form
from decision_engine.conditions.rendering import render
from decision_engine.conditions.syntax import (
    Binary,
    Call,
    Conditional,
    Expression,
    Literal,
    Logical,
    Name,
    children,
    names_in,
)
from decision_engine.conditions.typing_rules import COMPARISONS, Kind
from decision_engine.features.definitions import Value

MOST_ALTERNATIVES = 64
"""A condition with more of them is not reasoned about."""
_ORDERINGS = frozenset({"<", "<=", ">", ">="})
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}


class AnyOther(str):
    """Stands for every text that no test names: equal to none of them."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return 0


ANY_OTHER = AnyOther()


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Something a subject must pass."""

    subject: str
    text: str
    admits: Callable[[Value | None], bool]
    """Whether a value passes; None is an unknown one."""
    constants: tuple[Value, ...] = ()
    """Where the answer changes."""
    needs: frozenset[str] = frozenset()
    """Names that are certainly known when it holds."""
    whole: bool = False
    """The subject is a whole number."""
    within: tuple[int, int] | None = None
    """The least and the greatest value the subject can have, where it is a whole number that has bounds."""
    always_known: bool = False
    opposite: str | None = None
    """For a test of part of a text: what it is told from by its text alone, as other texts may pass or not."""

    def may_fail(self, value: Value | None) -> bool:
        """Whether the value may not pass."""
        return not self.admits(value) or (self.opposite is not None and value is ANY_OTHER)


Alternatives = tuple[tuple[Requirement, ...], ...]
"""The condition is true exactly when all requirements of one of them hold."""


def alternatives_of(checked: CheckedExpression) -> Alternatives | None:
    """The condition as alternatives of requirements; None if there would be too many."""
    conjunctions = disjunctive_form(fold(checked.expression), MOST_ALTERNATIVES)
    if conjunctions is None:
        return None
    kinds = {**checked.types, NOW: Kind.TIMESTAMP}
    return tuple(tuple(_requirement(atom, kinds) for atom in conjunction) for conjunction in conjunctions)


def required_of(test: AttributeTest, text: str) -> Requirement:
    """The requirement of a whole number or moment, for gates that are no conditions."""
    return _of_attribute(test, text, Kind.INT)


def values_worth_trying(tests: Sequence[Requirement], known: tuple[str, ...]) -> Iterator[Value | None]:
    """Values of one subject such that if any value at all passes the tests, one of these does.

    `known` are the only texts it can have; empty if it can have any.
    """
    yield None
    if known:
        yield from known
        return
    within = next((test.within for test in tests if test.within is not None), None)
    if within is not None:
        least, most = within
        around = {value for test in tests for c in test.constants for value in _around(_number(c), whole=True)}
        yield from {least, most} | {value for value in around if least <= value <= most}
        return
    whole = any(test.whole for test in tests)
    constants = [constant for test in tests for constant in test.constants]
    for constant in constants:
        if isinstance(constant, bool):
            yield from (True, False)
        elif isinstance(constant, str):
            yield constant
        else:
            yield from _around(constant, whole=whole)
    if not constants or any(isinstance(constant, str) for constant in constants):
        yield ANY_OTHER


def _number(constant: Value) -> float:
    return 0 if isinstance(constant, str) else constant


def _around(constant: float, *, whole: bool) -> Iterator[float]:
    """The value itself and the next ones below and above, among whole numbers and among doubles."""
    yield from (math.floor(constant) - 1, math.floor(constant), math.ceil(constant), math.ceil(constant) + 1)
    if not whole:
        near = (constant, math.nextafter(constant, -math.inf), math.nextafter(constant, math.inf))
        yield from (value for value in near if math.isfinite(value))


def _requirement(atom: Atom, kinds: Mapping[str, Kind]) -> Requirement:
    found = indexable(atom, kinds)
    if isinstance(found, HoldingTest):
        return _of_product(found, _atom_text(atom))
    if isinstance(found, AttributeTest):
        kind = kinds[found.attribute]
        text = _atom_text(atom) if kind is Kind.TIMESTAMP else _described(found)
        return _of_attribute(found, text, kind)
    if _has_no_value(atom.expression):
        text = _atom_text(atom)
        return Requirement(subject=text, text=text, admits=lambda _: False)
    return _of_text(atom, kinds) or _of_computed(atom, kinds) or _of_order(atom) or _of_anything(atom)


def _of_attribute(test: AttributeTest, text: str, kind: Kind) -> Requirement:
    return Requirement(
        subject=test.attribute,
        text=text,
        admits=test.holds,
        constants=test.constants,
        needs=frozenset() if test.operator == "unknown" or test.attribute == NOW else frozenset({test.attribute}),
        whole=kind in (Kind.INT, Kind.TIMESTAMP),
        always_known=test.attribute == NOW,
    )


def _described(test: AttributeTest) -> str:
    """As a person would write it."""
    if test.operator in ("known", "unknown"):
        return f"{'!' if test.operator == 'unknown' else ''}has({test.attribute})"
    texts = [render(Literal(value=constant, position=0)) for constant in test.constants]
    if texts in (["true"], ["false"]):
        return f"{'' if (texts == ['true']) is (test.operator == '==') else '!'}{test.attribute}"
    listed = f"[{', '.join(texts)}]" if test.operator in ("in", "not in") else texts[0]
    if test.operator == "not in":
        return f"!({test.attribute} in {listed})"
    return f"{test.attribute} {test.operator} {listed}"


def _of_product(test: HoldingTest, text: str) -> Requirement:
    return Requirement(
        subject=f"product {test.product}",
        text=text,
        admits=lambda value: value is test.held,
        constants=(True,),
        always_known=True,
    )


def _of_text(atom: Atom, kinds: Mapping[str, Kind]) -> Requirement | None:
    """`city.startsWith("bei")`: tried on the texts that are named; any other text may pass or not."""
    match atom.expression:
        case Call(function=function, arguments=(Name(name=name), Literal(value=str(part)))) if function in _TEXT_TESTS:
            wanted, passes = not atom.negated, _TEXT_TESTS[function]
        case _:
            return None
    if kinds.get(name) is not Kind.STRING:
        return None

    def admits(value: Value | None) -> bool:
        return value is ANY_OTHER or (isinstance(value, str) and passes(value, part) is wanted)

    opposite = _atom_text(Atom(atom.expression, negated=not atom.negated))
    return Requirement(subject=name, text=_atom_text(atom), admits=admits, constants=(part,),
                       needs=frozenset({name}), opposite=opposite)  # fmt: skip


def _of_computed(atom: Atom, kinds: Mapping[str, Kind]) -> Requirement | None:
    """`now - seen < duration("24h")`: the left side is a subject of its own, of which only constants are known."""
    found = constant_test(atom.expression) if isinstance(atom.expression, Binary) else None
    if found is None or isinstance(found.subject, Name):
        # A name that the index leaves alone: a text put in order, or a double beside a huge whole number.
        return None
    if found.operator in _ORDERINGS and any(isinstance(constant, str) for constant in found.constants):
        return None
    operator = negated(found.operator) if atom.negated else found.operator
    test = AttributeTest(f"value {render(found.subject)}", operator, found.constants)
    return Requirement(subject=test.attribute, text=_atom_text(atom), admits=test.holds, constants=test.constants,
                       needs=_certain(atom.expression), within=bounds_of(found.subject, kinds))  # fmt: skip


def _of_order(atom: Atom) -> Requirement | None:
    """`balance > age`: which of two values is the greater is a subject of its own: -1, 0 or 1."""
    compared = atom.expression
    if not isinstance(compared, Binary) or compared.operator not in COMPARISONS:
        return None
    operator = negated(compared.operator) if atom.negated else compared.operator
    sides = (render(compared.left), render(compared.right))
    if sides[0] > sides[1]:
        sides, operator = (sides[1], sides[0]), mirrored(operator)
    test = AttributeTest(f"order {sides[0]} | {sides[1]}", operator, (0,))
    return Requirement(subject=test.attribute, text=_atom_text(atom), admits=test.holds, constants=(0,),
                       needs=_certain(compared), whole=True)  # fmt: skip


def _of_anything(atom: Atom) -> Requirement:
    """A test nothing is known of but that it cannot hold together with its opposite."""
    wanted = not atom.negated
    return Requirement(
        subject=f"truth {render(atom.expression)}",
        text=_atom_text(atom),
        admits=lambda value: value is wanted,
        constants=(True,),
        needs=_certain(atom.expression),
    )


def _has_no_value(expression: Expression) -> bool:
    """Whether a part that it cannot do without is unknown whoever asks, such as a division by zero."""
    return _is_strict(expression) and any(
        isinstance(part, Binary) and _is_undefined(part) for part in _parts(expression)
    )


def _is_undefined(binary: Binary) -> bool:
    if not reads_facts(binary):
        return binary.operator not in (*COMPARISONS, "in") and constant_value(binary) is None
    return binary.operator in ("/", "%") and constant_value(binary.right) == 0


def _is_strict(expression: Expression) -> bool:
    """Whether it is unknown as soon as any part of it is: nothing in it passes over a part, as a choice or `&&` may."""
    return not any(isinstance(part, Conditional | Logical) or _asks_has(part) for part in _parts(expression))


def _certain(expression: Expression) -> frozenset[str]:
    """The names without which the expression is unknown."""
    if not _is_strict(expression):
        return frozenset()
    return frozenset(name for name in names_in(expression) if name != NOW)


def _asks_has(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.function == "has"


def _parts(expression: Expression) -> Iterator[Expression]:
    yield expression
    for child in children(expression):
        yield from _parts(child)


def _atom_text(atom: Atom) -> str:
    text = render(atom.expression)
    return f"!({text})" if atom.negated else text
