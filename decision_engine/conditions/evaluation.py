"""Compiles a checked condition to nested closures: the plain meaning of the language.

Three-valued: a part whose value is unknown is MISSING. `&&` is false as soon as one part is false, `||` true as
soon as one is true; otherwise one missing part makes them missing. Everything else is missing if a part of it is,
and so is a division by zero or a number that no longer fits. A rule holds only when its result is True.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from decision_engine.conditions.check import NOW, CheckedExpression
from decision_engine.conditions.conversions import CONVERT
from decision_engine.conditions.facts import LARGEST_DOUBLE, MISSING, Facts, Missing, well_typed
from decision_engine.conditions.lexer import LARGEST_INT
from decision_engine.conditions.moments import (
    FIRST_MOMENT_MS,
    LARGEST_DURATION_MS,
    LAST_MOMENT_MS,
    duration_ms,
    timestamp_ms,
)
from decision_engine.conditions.syntax import (
    Binary,
    Call,
    Conditional,
    Expression,
    ListLiteral,
    Literal,
    Logical,
    Name,
    Unary,
)
from decision_engine.conditions.time_fields import moment_field, span_field, zone_of
from decision_engine.conditions.typing_rules import (
    FUNCTIONS,
    TIME_FIELDS,
    Kind,
    ListType,
    ValueType,
    binary_type,
    kind_of_literal,
    list_of,
    unified,
)
from decision_engine.features.definitions import Value

__all__ = ["LARGEST_DOUBLE", "MISSING", "RANGES", "Facts", "Missing", "compile_expression", "well_typed"]

_NO_FACTS = Facts({}, frozenset(), 0)
_Run = Callable[[Facts], Any]
"""Inside this module types are proven by the check, so closures need not spell them out."""

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_expression(checked: CheckedExpression) -> Callable[[Facts], Value | Missing]:
    """A function from facts to the value; a result of type double is always a float."""
    compiled = _Compiler(checked.types).compile(checked.expression)
    return _as_double(compiled.run) if checked.type is Kind.DOUBLE else compiled.run


@dataclass(frozen=True, slots=True)
class _Compiled:
    run: _Run
    type: ValueType
    constant: bool = False


class _Compiler:
    def __init__(self, types: Mapping[str, Kind]) -> None:
        self._types = types

    def compile(self, expression: Expression) -> _Compiled:
        match expression:
            case Literal(value=value):
                return _constant(value, kind_of_literal(value))
            case Name(name=name):
                return self._name(name)
            case ListLiteral(items=items):
                return _list([self.compile(item) for item in items])
            case Unary(operator=symbol, operand=operand):
                return _unary(symbol, self.compile(operand))
            case Logical(operator=symbol, operands=operands):
                parts = tuple(self.compile(operand).run for operand in operands)
                return _Compiled(_decided_by(parts, deciding=symbol == "||"), Kind.BOOL)
            case Binary(operator=symbol, left=left, right=right):
                return _binary(symbol, self.compile(left), self.compile(right))
            case Conditional(condition=condition, then=then, otherwise=otherwise):
                return _conditional(self.compile(condition), self.compile(then), self.compile(otherwise))
            case Call():
                return self._call(expression)

    def _name(self, name: str) -> _Compiled:
        if name == NOW:
            return _Compiled(lambda facts: facts.now_ms, Kind.TIMESTAMP)
        kind = self._types[name]
        return _Compiled(_finite(name) if kind is Kind.DOUBLE else _attribute(name), kind)

    def _call(self, call: Call) -> _Compiled:
        first = call.arguments[0]
        match call.function, first:
            case "has", Name(name=name):
                value = self._name(name).run
                return _Compiled(lambda facts: value(facts) is not MISSING, Kind.BOOL)
            case "has_product", Literal(value=product):
                return _Compiled(lambda facts: product in facts.holdings, Kind.BOOL)
            case "timestamp", Literal(value=str(text)):
                return _constant(timestamp_ms(text), Kind.TIMESTAMP)
            case "duration", Literal(value=str(text)):
                return _constant(duration_ms(text), Kind.DURATION)
            case name, _ if name in TIME_FIELDS:
                return _time_field(name, self.compile(first), call.arguments[1:])
            case _:
                return _function(call.function, [self.compile(argument) for argument in call.arguments])


def _constant(value: object, kind: ValueType) -> _Compiled:
    return _Compiled(lambda _: value, kind, constant=True)


def _attribute(name: str) -> _Run:
    return lambda facts: facts.values.get(name, MISSING)


def _finite(name: str) -> _Run:
    def run(facts: Facts) -> Any:
        value: Any = facts.values.get(name)
        return value if value is not None and -LARGEST_DOUBLE <= value <= LARGEST_DOUBLE else MISSING

    return run


def _list(items: Sequence[_Compiled]) -> _Compiled:
    kind = list_of([item.type for item in items])
    assert kind is not None, "checked"  # noqa: S101 - the check has proven it
    runs = tuple(item.run for item in items)
    if all(item.constant for item in items):
        nothing = _NO_FACTS
        return _constant(tuple(run(nothing) for run in runs), kind)

    def run(facts: Facts) -> Any:
        values = tuple(run(facts) for run in runs)
        return MISSING if MISSING in values else values

    return _Compiled(run, kind)


def _unary(symbol: str, operand: _Compiled) -> _Compiled:
    apply = operator.not_ if symbol == "!" else operator.neg
    return _Compiled(_bounded(_applied(apply, operand.run), operand.type), operand.type)


def _applied(apply: Callable[[Any], Any], operand: _Run) -> _Run:
    def run(facts: Facts) -> Any:
        value = operand(facts)
        return MISSING if value is MISSING else apply(value)

    return run


def _decided_by(parts: tuple[_Run, ...], *, deciding: bool) -> _Run:
    """`&&` is decided by the first false, `||` by the first true."""

    def run(facts: Facts) -> Any:
        result: Any = not deciding
        for part in parts:
            value = part(facts)
            if value is MISSING:
                result = MISSING
            elif value == deciding:  # not `is`: a truth value of another library must not slip through
                return deciding
        return result

    return run


def _binary(symbol: str, left: _Compiled, right: _Compiled) -> _Compiled:
    kind = binary_type(symbol, left.type, right.type)
    assert kind is not None, "checked"  # noqa: S101 - the check has proven it
    if symbol == "in":
        return _Compiled(_membership(left, right), kind)
    if symbol in _COMPARE:
        return _Compiled(_combined(_COMPARE[symbol], left, right), kind)
    return _Compiled(_bounded(_combined(_arithmetic(symbol, kind), left, right), kind), kind)


def _combined(apply: Callable[[Any, Any], Any], left: _Compiled, right: _Compiled) -> _Run:
    first, second = left.run, right.run
    if right.constant:
        fixed = second(_NO_FACTS)

        def against_constant(facts: Facts) -> Any:
            value = first(facts)
            return MISSING if value is MISSING else apply(value, fixed)

        return against_constant

    def run(facts: Facts) -> Any:
        one, other = first(facts), second(facts)
        return MISSING if one is MISSING or other is MISSING else apply(one, other)

    return run


def _membership(left: _Compiled, right: _Compiled) -> _Run:
    item, entries = left.run, right.run
    if right.constant:
        members = frozenset(entries(_NO_FACTS))
        return _applied(members.__contains__, item)

    def run(facts: Facts) -> Any:
        value, among = item(facts), entries(facts)
        return MISSING if value is MISSING or among is MISSING else value in among

    return run


def _arithmetic(symbol: str, kind: Kind) -> Callable[[Any, Any], Any]:
    match symbol:
        case "+":
            return operator.add
        case "-":
            return operator.sub
        case "*":
            return operator.mul
        case "%":
            return _remainder
        case _:
            return _whole_quotient if kind is Kind.INT else _quotient


def _whole_quotient(dividend: int, divisor: int) -> int | Missing:
    """Towards zero, as CEL divides."""
    if divisor == 0:
        return MISSING
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _remainder(dividend: int, divisor: int) -> int | Missing:
    """With the sign of the dividend, as CEL does."""
    if divisor == 0:
        return MISSING
    rest = abs(dividend) % abs(divisor)
    return -rest if dividend < 0 else rest


def _quotient(dividend: float, divisor: float) -> float | Missing:
    return MISSING if divisor == 0 else dividend / divisor


RANGES: dict[ValueType, tuple[float, float]] = {
    Kind.INT: (-LARGEST_INT - 1, LARGEST_INT),
    Kind.DOUBLE: (-LARGEST_DOUBLE, LARGEST_DOUBLE),
    Kind.TIMESTAMP: (FIRST_MOMENT_MS, LAST_MOMENT_MS),
    Kind.DURATION: (-LARGEST_DURATION_MS, LARGEST_DURATION_MS),
}
"""Beyond these a number is missing."""


def _bounded(run: _Run, kind: ValueType) -> _Run:
    """Numbers that have left their range are missing: never a rule that holds by overflow."""
    if kind not in RANGES:
        return run
    lowest, highest = RANGES[kind]

    def bounded(facts: Facts) -> Any:
        value = run(facts)
        return value if value is MISSING or lowest <= value <= highest else MISSING

    return bounded


def _conditional(condition: _Compiled, then: _Compiled, otherwise: _Compiled) -> _Compiled:
    kind = unified(then.type, otherwise.type)
    assert kind is not None, "checked"  # noqa: S101 - the check has proven it
    asked, first, second = condition.run, then.run, otherwise.run

    def run(facts: Facts) -> Any:
        answer = asked(facts)
        if answer is MISSING:
            return MISSING
        return first(facts) if answer else second(facts)

    return _Compiled(run, kind)


_PLAIN: dict[str, Callable[..., Any]] = {
    "size": len,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
    "min": min,
    "max": max,
    "abs": abs,
}


def _function(name: str, arguments: Sequence[_Compiled]) -> _Compiled:
    kind = FUNCTIONS[name].result([argument.type for argument in arguments])
    assert kind is not None, "checked"  # noqa: S101 - the check has proven it
    if name in ("min", "max") and not isinstance(arguments[0].type, ListType):
        arguments = [_list(arguments)]
    if (convert := CONVERT.get((name, cast("Kind", arguments[0].type)))) is not None:
        return _Compiled(_bounded(_applied(convert, arguments[0].run), kind), kind)
    runs, apply = tuple(argument.run for argument in arguments), _PLAIN[name]

    def run(facts: Facts) -> Any:
        values = [run(facts) for run in runs]
        return MISSING if MISSING in values else apply(*values)

    return _Compiled(_bounded(run, kind), kind)


def _time_field(name: str, of: _Compiled, zone: Sequence[Expression]) -> _Compiled:
    if of.type is Kind.DURATION:
        return _Compiled(_applied(span_field(name), of.run), Kind.INT)
    where = zone_of(zone[0].value) if zone and isinstance(zone[0], Literal) and isinstance(zone[0].value, str) else None
    return _Compiled(_applied(moment_field(name, where), of.run), Kind.INT)


def _as_double(run: _Run) -> _Run:
    return _applied(float, run)
