"""Reads the conditions of a strategy: each is parsed and checked against the names it may use."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from decision_engine.conditions.check import CheckedExpression, check
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import Binary, Expression, ListLiteral, Literal, Name, children, names_in
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import AttributeType
from decision_engine.strategy_loading.section import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The names conditions may use. `doubtful` names have a faulty declaration: what mentions them is not checked,
    so that one fault is reported once. `values` are the only texts an attribute can have. What is `sensitive` decides
    nothing, whatever the condition is for."""

    types: Mapping[str, AttributeType]
    doubtful: frozenset[str] = frozenset()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sensitive: frozenset[str] = frozenset()


def read_condition(section: Section, key: str, vocabulary: Vocabulary) -> str:
    """The text of a condition that says yes or no; all its faults are noted."""
    text = section.text(key)
    checked = _checked(section, key, text, vocabulary)
    if checked is not None and checked.type is not Kind.BOOL:
        section.problem(f"a condition says yes or no, this gives a {checked.type}", key)
    return text.strip()


def read_expression(section: Section, key: str, vocabulary: Vocabulary) -> tuple[str, CheckedExpression | None]:
    """The text of an expression of any type, and what the check found unless there are faults."""
    text = section.text(key)
    return text, _checked(section, key, text, vocabulary)


def _checked(section: Section, key: str, text: str, vocabulary: Vocabulary) -> CheckedExpression | None:
    if not text:
        return None
    try:
        expression = parse(text)
    except ConditionError as error:
        section.problem(str(error), key)
        return None
    if not vocabulary.doubtful.isdisjoint(names_in(expression)):
        return None
    result = check(expression, vocabulary.types)
    if not isinstance(result, CheckedExpression):
        for problem in result:
            section.problem(str(problem), key)
        return None
    for message in _impossible_values(expression, vocabulary.values):
        section.problem(message, key)
    barred = sorted(vocabulary.sensitive.intersection(names_in(expression)))
    for name in barred:
        section.problem(f"{name} is sensitive and must decide nothing", key)
    return None if barred else result


def _impossible_values(expression: Expression, values: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Comparisons with a text the attribute never has: a rule that would silently never apply."""
    if isinstance(expression, Binary) and expression.operator in ("==", "!=", "in"):
        for name, constant in _compared(expression):
            known = values.get(name)
            if known and constant not in known:
                nearest = get_close_matches(constant, known, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"its values are {', '.join(known)}"
                yield f"{name} is never {constant!r}; {hint}"
    for child in children(expression):
        yield from _impossible_values(child, values)


def _compared(binary: Binary) -> Iterator[tuple[str, str]]:
    """The name and each text it is compared with."""
    sides = (binary.left, binary.right)
    name = next((side.name for side in sides if isinstance(side, Name)), None)
    for side in sides:
        for item in side.items if isinstance(side, ListLiteral) else (side,):
            if name is not None and isinstance(item, Literal) and isinstance(item.value, str):
                yield name, item.value
