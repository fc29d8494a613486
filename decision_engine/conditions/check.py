"""Checks the names and types of a condition before anything runs, and reports every problem."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from decision_engine.conditions.errors import ConditionError, ConditionProblem
from decision_engine.conditions.macros import MACROS
from decision_engine.conditions.moments import duration_ms, timestamp_ms
from decision_engine.conditions.parser import parse
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
    names_in,
)
from decision_engine.conditions.time_fields import zone_of
from decision_engine.conditions.typing_rules import (
    FUNCTIONS,
    METHODS,
    NUMBERS,
    REFUSED_FUNCTIONS,
    SPECIAL_FUNCTIONS,
    TIME_FIELDS,
    Kind,
    ListType,
    ValueType,
    binary_type,
    kind_of,
    kind_of_literal,
    list_of,
    unified,
)
from decision_engine.features.definitions import AttributeType

NOW = "now"
"""The moment of the decision; always known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedExpression:
    """A condition whose names exist and whose types fit. `types` holds its names only, `now` apart."""

    expression: Expression
    type: Kind
    types: Mapping[str, Kind]

    @property
    def names(self) -> frozenset[str]:
        """The attributes it reads or asks `has()` of."""
        return frozenset(self.types)


def check(
    expression: Expression, types: Mapping[str, AttributeType]
) -> CheckedExpression | tuple[ConditionProblem, ...]:
    """The checked expression, or all problems in the order of the text."""
    checker = _Checker(types)
    kind = checker.visit(expression)
    if isinstance(kind, ListType):
        checker.report("the result is a list; a condition gives a single value", expression)
    if checker.problems or not isinstance(kind, Kind):
        return tuple(sorted(checker.problems, key=lambda problem: problem.position))
    used = {name: kind_of(types[name]) for name in names_in(expression) if name != NOW}
    return CheckedExpression(expression=expression, type=kind, types=used)


def checked_expression(text: str, types: Mapping[str, AttributeType]) -> CheckedExpression:
    """Parses and checks in one step; raises ConditionError with all problems."""
    checked = check(parse(text), types)
    if isinstance(checked, CheckedExpression):
        return checked
    raise ConditionError.of(checked)


def checked_condition(text: str, types: Mapping[str, AttributeType]) -> CheckedExpression:
    """A checked expression that says yes or no; raises ConditionError with all problems."""
    checked = checked_expression(text, types)
    if checked.type is not Kind.BOOL:
        raise ConditionError(f"a condition says yes or no, this gives a {checked.type}", 0)
    return checked


class _Checker:
    """Gives each part its type; None where a problem has been reported, so that it is reported once."""

    def __init__(self, types: Mapping[str, AttributeType]) -> None:
        self._types = types
        self.problems: dict[ConditionProblem, None] = {}
        self._suggested: dict[str, str] = {}

    def report(self, message: str, at: Expression) -> None:
        # Each once: a macro repeats its condition for every entry.
        self.problems[ConditionProblem(message, at.position)] = None

    def visit(self, expression: Expression) -> ValueType | None:
        match expression:
            case Literal(value=value):
                return kind_of_literal(value)
            case Name():
                return self._name(expression)
            case ListLiteral():
                return self._list(expression)
            case Unary():
                return self._unary(expression)
            case Logical():
                return self._logical(expression)
            case Binary():
                return self._binary(expression)
            case Conditional():
                return self._conditional(expression)
            case Call():
                return self._call(expression)

    def _name(self, name: Name) -> Kind | None:
        if name.name == NOW:
            return Kind.TIMESTAMP
        attribute = self._types.get(name.name)
        if attribute is None:
            if name.name not in self._suggested:  # looking for the nearest takes long, and names repeat
                self._suggested[name.name] = _suggestion(name.name, (*self._types, NOW))
            self.report(f"unknown name {name.name}{self._suggested[name.name]}", name)
            return None
        return kind_of(attribute)

    def _list(self, literal: ListLiteral) -> ListType | None:
        kinds = [self.visit(item) for item in literal.items]
        known = [kind for kind in kinds if kind is not None]
        if len(known) < len(kinds):
            return None
        result = list_of(known)
        if result is None:
            self.report("the entries of a list must be of one type", literal)
        return result

    def _unary(self, unary: Unary) -> ValueType | None:
        kind = self.visit(unary.operand)
        if kind is None:
            return None
        fits = kind is Kind.BOOL if unary.operator == "!" else kind in NUMBERS
        if not fits:
            wanted = "a yes or no" if unary.operator == "!" else "a number"
            self.report(f"{unary.operator} takes {wanted}, not a {kind}", unary)
            return None
        return kind

    def _logical(self, logical: Logical) -> Kind:
        for operand in logical.operands:
            kind = self.visit(operand)
            if kind not in (None, Kind.BOOL):
                self.report(f"{logical.operator} joins conditions, this is a {kind}", operand)
        return Kind.BOOL

    def _binary(self, binary: Binary) -> Kind | None:
        left, right = self.visit(binary.left), self.visit(binary.right)
        if left is None or right is None:
            return None
        result = binary_type(binary.operator, left, right)
        if result is None:
            self.report(_misfit(binary.operator, left, right), binary)
        return result

    def _conditional(self, conditional: Conditional) -> ValueType | None:
        condition = self.visit(conditional.condition)
        then, otherwise = self.visit(conditional.then), self.visit(conditional.otherwise)
        if condition not in (None, Kind.BOOL):
            self.report(f"before the ? stands a condition, this is a {condition}", conditional.condition)
        if then is None or otherwise is None:
            return None
        result = unified(then, otherwise)
        if result is None:
            self.report(f"both choices must be of one type, these are {then} and {otherwise}", conditional)
        return result

    def _call(self, call: Call) -> Kind | None:
        if call.function in SPECIAL_FUNCTIONS and not call.method:
            return self._special(call)
        if call.function in REFUSED_FUNCTIONS:
            self.report(f"{call.function} is not supported: {REFUSED_FUNCTIONS[call.function]}", call)
            return None
        kinds = [self.visit(argument) for argument in call.arguments]
        function = FUNCTIONS.get(call.function)
        if function is None or (call.method and call.function not in METHODS):
            known = METHODS | MACROS if call.method else {*FUNCTIONS, *SPECIAL_FUNCTIONS}
            self.report(f"unknown function {call.function}{_suggestion(call.function, known)}", call)
            return None
        present = [kind for kind in kinds if kind is not None]
        if len(present) < len(kinds):
            return None
        result = function.result(present)
        if result is None:
            given = ", ".join(str(kind) for kind in present) or "nothing"
            self.report(f"{call.function} takes {function.takes}, not {given}", call)
        elif call.function in TIME_FIELDS and len(present) > 1:
            self._zone(call.arguments[1])
        return result

    def _zone(self, argument: Expression) -> None:
        text = argument.value if isinstance(argument, Literal) and isinstance(argument.value, str) else None
        if text is None or zone_of(text) is None:
            self.report('the zone is a fixed text such as "Asia/Shanghai" or "+08:00"', argument)

    def _special(self, call: Call) -> Kind | None:
        argument = call.arguments[0] if len(call.arguments) == 1 else None
        if call.function == "has":
            if isinstance(argument, Name):
                self._name(argument)
            else:
                self.report("has takes one name: has(age)", call)
            return Kind.BOOL
        text = argument.value if isinstance(argument, Literal) and isinstance(argument.value, str) else None
        match call.function:
            case "has_product":
                if not text:
                    self.report('has_product takes one product in quotes: has_product("gold_card")', call)
                return Kind.BOOL
            case "timestamp":
                if text is None or timestamp_ms(text) is None:
                    self.report(
                        'timestamp takes a moment with its offset: timestamp("2026-11-21T08:00:00+08:00")', call
                    )
                return Kind.TIMESTAMP
            case _:
                if text is None or duration_ms(text) is None:
                    self.report('duration takes hours, minutes, seconds: duration("168h"), duration("1h30m")', call)
                return Kind.DURATION


def _misfit(operator: str, left: ValueType, right: ValueType) -> str:
    if operator == "in" and not isinstance(right, ListType):
        return f"in needs a list on its right, this is a {right}"
    if operator in ("<", "<=", ">", ">=") and left is right is Kind.BOOL:
        return f"{operator} does not order yes and no"
    return f"{operator} does not fit {left} and {right}"


def _suggestion(name: str, known: frozenset[str] | set[str] | tuple[str, ...]) -> str:
    nearest = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
