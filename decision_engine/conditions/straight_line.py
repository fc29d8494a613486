"""Many expressions as one function: the same meaning as `evaluation`, several times as fast.

Every part of every expression becomes one line over local variables, None being what is not known; parts that occur
more than once are computed once. All parts are computed, whichever branch needs them: none of them can fail, so what
is not chosen does no harm. The text is made of operators and of variables numbered here; names of attributes and
texts of the strategy appear only quoted. Expressions with parts this module does not know keep their closures.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from types import CodeType, FunctionType
from typing import NamedTuple, cast

from decision_engine.conditions.check import NOW, CheckedExpression
from decision_engine.conditions.evaluation import MISSING, RANGES, Facts, Missing, compile_expression
from decision_engine.conditions.moments import duration_ms, timestamp_ms
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
from decision_engine.conditions.typing_rules import Kind, ListType, ValueType, binary_type, kind_of_literal, unified
from decision_engine.features.definitions import Value

Compute = Callable[[MutableMapping[str, Value], frozenset[str], int], None]
"""Sets attributes from the others, the holdings and the moment (epoch milliseconds)."""
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class Assignment(NamedTuple):
    """An attribute and what it is computed from; `as_double` makes a whole number a double."""

    name: str
    checked: CheckedExpression
    as_double: bool


def compile_assignments(assignments: Sequence[Assignment]) -> Compute:
    """A function that computes them in this order; what is missing in the end is not set."""
    writer = _Writer()
    for assignment in assignments:
        writer.assign(assignment)
    return writer.function()


Tests = Callable[[Mapping[str, Value], frozenset[str], int], int]
"""From attributes, holdings and the moment to what holds, as a bit mask."""


def compile_tests(tests: Sequence[tuple[int, Sequence[CheckedExpression]]]) -> Tests:
    """A function that answers which masks' boolean expressions are all true, those masks together."""
    writer = _Writer()
    for mask, expressions in tests:
        writer.test(mask, expressions)
    return writer.tests()


class _Part(NamedTuple):
    """A literal or a variable; `sure` where it cannot be None."""

    text: str
    type: ValueType
    sure: bool


class _NotKnown(Exception):
    """A part this module has no line for."""


class _Writer:
    def __init__(self) -> None:
        self._lines: list[str] = []
        self._variables: dict[str, str] = {}
        self._assigned: dict[str, _Part] = {}
        self._tests: list[str] = []
        self._closures: list[Callable[[Facts], Value | Missing]] = []
        self._types: Mapping[str, Kind] = {}

    def assign(self, assignment: Assignment) -> None:
        self._types = assignment.checked.types
        try:
            part = self._write(assignment.checked.expression)
        except _NotKnown:
            part = self._closure(assignment.checked)
        if assignment.as_double or assignment.checked.type is Kind.DOUBLE:
            part = self._line(f"float({part.text})", (part,), Kind.DOUBLE)
        set_it = f"values[{assignment.name!r}] = {part.text}"
        self._lines.append(set_it if part.sure else f"if {part.text} is not None: {set_it}")
        self._assigned[assignment.name] = part

    def test(self, mask: int, expressions: Sequence[CheckedExpression]) -> None:
        """What has to be true for a mask."""
        parts = []
        for checked in expressions:
            self._types = checked.types
            try:
                parts.append(self._write(checked.expression).text)
            except _NotKnown:
                parts.append(self._closure(checked).text)
        self._tests.append(f"({mask} if {' and '.join(parts) or 'True'} else 0)")

    def function(self) -> Compute:
        """What computes the assignments."""
        return cast("Compute", self._compiled("None"))

    def tests(self) -> Tests:
        """What answers the tests."""
        return cast("Tests", self._compiled(" | ".join(self._tests) or "0"))

    def _compiled(self, answer: str) -> FunctionType:
        lines = "".join(f"    {line}\n" for line in self._lines)
        text = f"def compute(values, holdings, now):\n    get = values.get\n{lines}    return {answer}\n"
        module = compile(text, "<derived attributes>", "exec")
        code = next(constant for constant in module.co_consts if isinstance(constant, CodeType))
        known = {f"closure{number}": closure for number, closure in enumerate(self._closures)}
        allowed = {"float": float, "abs": abs, "Facts": Facts, "MISSING": MISSING, "__builtins__": {}}
        return FunctionType(code, {**known, **allowed})

    def _write(self, expression: Expression) -> _Part:
        match expression:
            case Literal(value=value):
                return _Part(f"({value!r})", kind_of_literal(value), sure=True)
            case Name(name=name):
                return self._name(name)
            case Unary(operator=symbol, operand=operand):
                part = self._write(operand)
                return self._bounded(f"{'not' if symbol == '!' else '-'} {part.text}", (part,), part.type)
            case Logical(operator=symbol, operands=operands):
                return self._logical(symbol, [self._write(operand) for operand in operands])
            case Binary(operator=symbol, left=left, right=right):
                return self._binary(symbol, left, right)
            case Conditional(condition=condition, then=then, otherwise=otherwise):
                return self._conditional(self._write(condition), self._write(then), self._write(otherwise))
            case Call():
                return self._call(expression)
            case _:
                raise _NotKnown

    def _name(self, name: str) -> _Part:
        if name == NOW:
            return _Part("now", Kind.TIMESTAMP, sure=True)
        if name in self._assigned:
            return self._assigned[name]
        kind = self._types[name]
        variable = self._variable(f"get({name!r})")
        if kind is Kind.DOUBLE:
            lowest, highest = RANGES[kind]
            inside = f"{variable} is not None and {lowest!r} <= {variable} <= {highest!r}"
            variable = self._variable(f"{variable} if {inside} else None")
        return _Part(variable, kind, sure=False)

    def _binary(self, symbol: str, left: Expression, right: Expression) -> _Part:
        first = self._write(left)
        if symbol == "in":
            return self._line(f"{first.text} in {_members(right)}", (first,), Kind.BOOL)
        second = self._write(right)
        kind = binary_type(symbol, first.type, second.type)
        if kind is None or isinstance(first.type, ListType):
            raise _NotKnown
        one, other = first.text, second.text
        if symbol in _COMPARISONS:
            return self._line(f"{one} {symbol} {other}", (first, second), kind)
        if symbol in "+-*":
            return self._bounded(f"{one} {symbol} {other}", (first, second), kind)
        if kind is Kind.DOUBLE:
            return self._bounded(f"{one} / {other}", (first, second), kind, unless=f"{other} == 0")
        # Towards zero, and the rest with the sign of the dividend, as CEL divides.
        whole = f"abs({one}) // abs({other}) if ({one} < 0) == ({other} < 0) else -(abs({one}) // abs({other}))"
        rest = f"-(abs({one}) % abs({other})) if {one} < 0 else abs({one}) % abs({other})"
        return self._bounded(rest if symbol == "%" else whole, (first, second), kind, unless=f"{other} == 0")

    def _logical(self, symbol: str, parts: Sequence[_Part]) -> _Part:
        """`&&` is decided by the first false, `||` by the first true."""
        wanted, other = ("not ", "True") if symbol == "&&" else ("", "False")
        decided = " or ".join(
            f"{wanted}{part.text}" if part.sure else f"({part.text} is not None and {wanted}{part.text})"
            for part in parts
        )
        unknown = " or ".join(f"{part.text} is None" for part in parts if not part.sure)
        rest = f"(None if {unknown} else {other})" if unknown else other
        variable = self._variable(f"{'False' if symbol == '&&' else 'True'} if {decided} else {rest}")
        return _Part(variable, Kind.BOOL, sure=not unknown)

    def _conditional(self, asked: _Part, then: _Part, otherwise: _Part) -> _Part:
        kind = unified(then.type, otherwise.type)
        if kind is None:
            raise _NotKnown
        chosen = f"{then.text} if {asked.text} else {otherwise.text}"
        variable = self._variable(chosen if asked.sure else f"None if {asked.text} is None else ({chosen})")
        return _Part(variable, kind, sure=asked.sure and then.sure and otherwise.sure)

    def _call(self, call: Call) -> _Part:
        first = call.arguments[0]
        match call.function, first:
            case "has", Name():
                part = self._write(first)
                text = "True" if part.sure else self._variable(f"{part.text} is not None")
                return _Part(text, Kind.BOOL, sure=True)
            case "has_product", Literal(value=product):
                return _Part(self._variable(f"{product!r} in holdings"), Kind.BOOL, sure=True)
            case "timestamp", Literal(value=str(text)):
                return _Part(f"({timestamp_ms(text)!r})", Kind.TIMESTAMP, sure=True)
            case "duration", Literal(value=str(text)):
                return _Part(f"({duration_ms(text)!r})", Kind.DURATION, sure=True)
            case "min" | "max" | "abs", _:
                return self._number(call.function, [self._write(argument) for argument in call.arguments])
            case _:
                raise _NotKnown

    def _number(self, function: str, parts: Sequence[_Part]) -> _Part:
        """Smallest, largest and absolute values; of equals the first, as `min` and `max` choose."""
        found = parts[0]
        if isinstance(found.type, ListType):
            raise _NotKnown
        if function == "abs":
            return self._bounded(f"abs({found.text})", (found,), found.type)
        symbol = "<" if function == "min" else ">"
        for part in parts[1:]:
            kind = unified(found.type, part.type)
            if kind is None:
                raise _NotKnown
            chosen = f"{part.text} if {part.text} {symbol} {found.text} else {found.text}"
            found = self._line(chosen, (found, part), kind)
        return self._bounded(found.text, (found,), found.type)

    def _closure(self, checked: CheckedExpression) -> _Part:
        number = len(self._closures)
        self._closures.append(compile_expression(checked))
        variable = self._variable(f"closure{number}(Facts(values, holdings, now))")
        return _Part(self._variable(f"None if {variable} is MISSING else {variable}"), checked.type, sure=False)

    def _line(self, text: str, of: Sequence[_Part], kind: ValueType) -> _Part:
        """A variable with the value of the text, None if a part is."""
        unknown = " or ".join(dict.fromkeys(f"{part.text} is None" for part in of if not part.sure))
        return _Part(self._variable(f"None if {unknown} else ({text})" if unknown else text), kind, sure=not unknown)

    def _bounded(self, text: str, of: Sequence[_Part], kind: ValueType, unless: str = "") -> _Part:
        """Likewise, and None where a number has left its range or `unless` holds."""
        if not isinstance(kind, Kind) or kind not in RANGES:
            return self._line(text, of, kind)
        lowest, highest = RANGES[kind]
        unknown = [f"{part.text} is None" for part in of if not part.sure]
        condition = " or ".join(dict.fromkeys([*unknown, unless] if unless else unknown))
        raw = self._variable(f"None if {condition} else ({text})" if condition else text)
        inside = f"({lowest!r}) <= {raw} <= ({highest!r})"
        known = f"{raw} is not None and {inside}" if condition else inside
        return _Part(self._variable(f"{raw} if {known} else None"), kind, sure=False)

    def _variable(self, text: str) -> str:
        """The variable of this value: what was computed once is not computed again, for nothing changes meanwhile."""
        known = self._variables.get(text)
        if known is None:
            known = self._variables[text] = f"v{len(self._variables)}"
            self._lines.append(f"{known} = {text}")
        return known


def _members(right: Expression) -> str:
    """A set of constants, as text."""
    if not isinstance(right, ListLiteral) or not right.items:
        raise _NotKnown
    values = [item.value for item in right.items if isinstance(item, Literal)]
    if len(values) != len(right.items):
        raise _NotKnown
    return "{" + ", ".join(repr(value) for value in values) + "}"
