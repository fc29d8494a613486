"""Rewrites a condition as alternatives of conjunctions, so that an index can answer its parts.

In three-valued logic the usual laws (De Morgan, distribution) keep the one thing that counts: whether the result
is True. A negation ends up at the atoms, where it means "known, and not so".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from decision_engine.conditions.syntax import Conditional, Expression, Literal, Logical, Unary


@dataclass(frozen=True, slots=True)
class Atom:
    """A part without `&&`, `||`, `!` on its outside, which must be true, or if negated false."""

    expression: Expression
    negated: bool


Conjunction = tuple[Atom, ...]


def disjunctive_form(expression: Expression, most: int) -> tuple[Conjunction, ...] | None:
    """The condition is true exactly when all atoms of one of the conjunctions hold; None if that takes more than
    `most` conjunctions."""
    return _expand(Atom(expression, negated=False), most)


def _expand(atom: Atom, most: int) -> tuple[Conjunction, ...] | None:
    negated = atom.negated
    match atom.expression:
        case Literal(value=bool(value)):
            return ((),) if value is not negated else ()
        case Unary(operator="!", operand=operand):
            return _expand(Atom(operand, negated=not negated), most)
        case Logical(operator=operator, operands=operands):
            parts = [Atom(operand, negated=negated) for operand in operands]
            return _all(parts, most) if (operator == "&&") is not negated else _any(parts, most)
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            asked, refused = Atom(condition, negated=False), Atom(condition, negated=True)
            first = _all((asked, Atom(then, negated=negated)), most)
            if first is None:
                return None  # at once: the condition is expanded twice, which must not double at every level
            second = _all((refused, Atom(otherwise, negated=negated)), most)
            return None if second is None else _bounded(first + second, most)
        case _:
            return ((atom,),)


def _any(parts: Sequence[Atom], most: int) -> tuple[Conjunction, ...] | None:
    alternatives: tuple[Conjunction, ...] = ()
    for part in parts:
        expanded = _expand(part, most)
        if expanded is None or len(alternatives := alternatives + expanded) > most:
            return None
    return alternatives


def _all(parts: Sequence[Atom], most: int) -> tuple[Conjunction, ...] | None:
    combined: tuple[Conjunction, ...] = ((),)
    for part in parts:
        expanded = _expand(part, most)
        if expanded is None or len(combined) * len(expanded) > most:
            return None
        combined = tuple(left + right for left, right in product(combined, expanded))
    return combined


def _bounded(conjunctions: tuple[Conjunction, ...], most: int) -> tuple[Conjunction, ...] | None:
    return conjunctions if len(conjunctions) <= most else None
