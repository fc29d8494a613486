"""Reads a condition out in plain words, Chinese or English: what must hold, without the signs of the language.

`age >= 18 && card_spend_sum_30d >= 500000` becomes "Age in years is at least 18 and Card spend within 30 days is at
least 5,000.00 CNY". The words of names come from whoever asks; amounts of money are said in units of the currency.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from decision_engine.conditions.reading_phrases import PHRASES, Phrases
from decision_engine.conditions.rendering import render
from decision_engine.conditions.syntax import (
    Binary,
    Call,
    Conditional,
    Expression,
    ListLiteral,
    Literal,
    LiteralValue,
    Logical,
    Name,
    Unary,
)

MINOR_UNITS = 100
"""So many in a unit of the currency."""
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<", "in": "not in"}
_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of one locale for what conditions name. `facts` by name; `memberships` are those that say whether
    somebody belongs to something; `money` those that are amounts in minor units of `currency`."""

    locale: str
    facts: Mapping[str, str] = field(default_factory=dict)
    products: Mapping[str, str] = field(default_factory=dict)
    memberships: frozenset[str] = frozenset()
    money: frozenset[str] = frozenset()
    currency: str = ""


def read_out(expression: Expression, words: Words) -> str:
    """The condition in words; another locale than Chinese is read in English."""
    phrases = PHRASES["zh-CN" if words.locale.startswith("zh") else "en"]
    return _Reader(words, phrases).condition(expression)


def is_money(expression: Expression, money: frozenset[str]) -> bool:
    """Whether the value is an amount of money: an amount, a sum or difference of amounts, the larger or smaller of
    them, or a multiple."""
    match expression:
        case Name(name=name):
            return name in money
        case Binary(operator="+" | "-", left=left, right=right):
            return is_money(left, money) and is_money(right, money)
        case Binary(operator="*", left=left, right=right):
            return is_money(left, money) != is_money(right, money)
        case Binary(operator="/", left=left, right=right):
            return is_money(left, money) and not is_money(right, money)
        case Call(function="min" | "max", arguments=parts):
            return any(is_money(part, money) for part in parts)
        case Call(function="abs" | "int" | "double", arguments=(part,)):
            return is_money(part, money)
        case Unary(operator="-", operand=operand):
            return is_money(operand, money)
    return False


class _Reader:
    def __init__(self, words: Words, phrases: Phrases) -> None:
        self._words, self._say = words, phrases

    def condition(self, expression: Expression, inside: str = "") -> str:
        """Something that holds or does not; within another chain an `||` or `&&` stands in brackets."""
        match expression:
            case Logical(operator=operator, operands=operands):
                joined = self._say.joins[operator].join(self.condition(part, operator) for part in operands)
                return self._say.bracketed(joined) if inside else joined
            case Unary(operator="!", operand=operand):
                return self._not(operand, inside)
            case Binary(operator=operator) if operator in _OPPOSITE:
                return self._comparison(expression, operator)
            case Conditional(condition=condition, then=then, otherwise=otherwise):
                parts = [self.condition(part, "?") for part in (condition, then, otherwise)]
                return self._say.either.format(*parts)
            case Literal(value=bool(value)):
                return self._say.always if value else self._say.never
            case Name(name=name):
                return self._name(name, holds=True)
            case Call():
                return self._call(expression, holds=True)
        return self.value(expression)

    def value(self, expression: Expression, *, money: bool = False) -> str:
        """A value in words; a number beside an amount of money is one itself."""
        match expression:
            case Literal(value=value):
                return self._literal(value, money=money)
            case Name(name=name):
                return self._say.now if name == "now" else self._words.facts.get(name, name)
            case ListLiteral(items=items):
                return self._listed([self.value(item, money=money) for item in items])
            case Unary(operator="-", operand=operand):
                return f"−{self.value(operand)}"
            case Binary(operator=operator, left=left, right=right) if operator not in _OPPOSITE:
                return self._arithmetic(operator, left, right)
            case Conditional(condition=condition, then=then, otherwise=otherwise):
                chosen = (self.value(part, money=money) for part in (then, otherwise))
                return self._say.either.format(self.condition(condition), *chosen)
            case Call(function=function, arguments=arguments):
                return self._function(function, arguments)
        return self.condition(expression)

    def _arithmetic(self, operator: str, left: Expression, right: Expression) -> str:
        alike = operator in "+-" and (is_money(left, self._words.money) or is_money(right, self._words.money))
        parts = [
            self._say.bracketed(text) if isinstance(part, Binary) and part.operator != operator else text
            for part, text in ((each, self.value(each, money=alike)) for each in (left, right))
        ]
        return f"{parts[0]} {self._say.signs[operator]} {parts[1]}"

    def _comparison(self, binary: Binary, operator: str) -> str:
        left, right = binary.left, binary.right
        if isinstance(left, Literal) and not isinstance(right, Literal) and operator in _TURNED:
            left, right, operator = right, left, _TURNED[operator]
        money = is_money(left, self._words.money) or is_money(right, self._words.money)
        if isinstance(right, Literal) and isinstance(right.value, bool) and operator in ("==", "!="):
            return self._truth(left, holds=right.value is (operator == "=="))
        subject, other = self.value(left, money=money), self.value(right, money=money)
        return self._say.comparisons[operator].format(subject, other)

    def _truth(self, expression: Expression, *, holds: bool) -> str:
        return self.condition(expression, "==") if holds else self._not(expression, "==")

    def _not(self, operand: Expression, inside: str) -> str:
        match operand:
            case Unary(operator="!", operand=inner):
                return self.condition(inner, inside)
            case Binary(operator=operator) if operator in _OPPOSITE:
                return self._comparison(operand, _OPPOSITE[operator])
            case Name(name=name):
                return self._name(name, holds=False)
            case Call():
                return self._call(operand, holds=False)
            case Logical(operator=operator, operands=operands):
                turned = "||" if operator == "&&" else "&&"
                joined = self._say.joins[turned].join(self._not(part, turned) for part in operands)
                return self._say.bracketed(joined) if inside else joined
        return self._say.not_so.format(self.condition(operand))

    def _name(self, name: str, *, holds: bool) -> str:
        said = self._words.facts.get(name, name)
        phrases = self._say.belongs if name in self._words.memberships else self._say.true_of
        return phrases[holds].format(said)

    def _call(self, call: Call, *, holds: bool) -> str:
        match call:
            case Call(function="has", arguments=(Name(name=name),)):
                return self._say.known[holds].format(self._words.facts.get(name, name))
            case Call(function="has_product", arguments=(Literal(value=str(product)),)):
                return self._say.held[holds].format(self._words.products.get(product, product))
            case Call(function=function, arguments=(text, part)) if function in self._say.text_tests:
                return self._say.text_tests[function][holds].format(self.value(text), self.value(part))
        said = self._function(call.function, call.arguments)
        return said if holds else self._say.not_so.format(said)

    def _function(self, function: str, arguments: Sequence[Expression]) -> str:
        match function, arguments:
            case ("timestamp" | "duration", (Literal(value=str(text)),)):
                return text
            case ("int" | "double" | "string" | "bool", (part,)):
                return self.value(part)
            case _ if function in self._say.functions:
                money = any(is_money(part, self._words.money) for part in arguments)
                listed = self._together([self.value(part, money=money) for part in _spread(arguments)])
                return self._say.functions[function].format(listed)
        return render(Call(function=function, arguments=tuple(arguments), position=0))

    def _listed(self, items: Sequence[str]) -> str:
        return _chained(items, self._say.or_list)

    def _together(self, items: Sequence[str]) -> str:
        return _chained(items, self._say.and_list)

    def _literal(self, value: LiteralValue, *, money: bool) -> str:
        match value:
            case bool():
                return self._say.yes if value else self._say.no
            case str():
                return self._say.quoted.format(value)
            case _ if money:
                return f"{value / MINOR_UNITS:,.2f} {self._words.currency}".rstrip()
            case int():
                return f"{value:,}"
            case _:
                return f"{value:,.10g}"


def _spread(arguments: Sequence[Expression]) -> Sequence[Expression]:
    """`min([1, x])` is `min(1, x)`."""
    match arguments:
        case (ListLiteral(items=items),):
            return items
    return arguments


def _chained(items: Sequence[str], joins: tuple[str, str]) -> str:
    comma, last = joins
    return items[0] if len(items) == 1 else comma.join(items[:-1]) + last + items[-1] if items else "–"
