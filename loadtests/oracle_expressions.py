"""Conditions and derived features, evaluated naively: a recursive reading of the text, three-valued, for the oracle.

Independent on purpose: nothing of the engine is imported. `docs/conditions.md` says what the language means. Only what
features of the delivered strategies use is known; anything else is refused, never guessed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import trunc

Value = bool | int | float | str


class Unknown:
    """What is not known; the result of everything that needs it."""


UNKNOWN = Unknown()
Result = Value | Unknown | list["Result"]
Names = Mapping[str, Value]
Evaluate = Callable[[Names], Result]
_TOKEN = re.compile(
    r"""\s*(?:(\d+\.\d+|\d+)|("[^"\\]*"|'[^'\\]*')|([A-Za-z_]\w*)|(&&|\|\||==|!=|<=|>=|[<>!?:()\[\],+*/%-]))"""
)
_LARGEST = 2**63


def compiled(text: str) -> Evaluate:
    """The expression as a function of what is known. Raises ValueError for what this oracle does not know."""
    reader = _Reader(_tokens(text), text)
    found = reader.choice()
    if reader.tokens:
        raise ValueError(f"the oracle does not know {reader.tokens[0]!r} in {text!r}")
    return found


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"the oracle cannot read {text[at:]!r}")
        found.append(match.group().strip())
        at = match.end()
    return found


@dataclass
class _Reader:
    tokens: list[str]
    text: str
    levels: tuple[frozenset[str], ...] = field(
        default=(
            frozenset({"||"}),
            frozenset({"&&"}),
            frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
            frozenset({"+", "-"}),
            frozenset({"*", "/", "%"}),
        )
    )

    def next(self, *wanted: str) -> str:
        if not self.tokens or (wanted and self.tokens[0] not in wanted):
            raise ValueError(f"the oracle expects {wanted} in {self.text!r}")
        return self.tokens.pop(0)

    def choice(self) -> Evaluate:
        condition = self.binary(0)
        if not self.tokens or self.tokens[0] != "?":
            return condition
        self.next("?")
        yes = self.choice()
        self.next(":")
        no = self.choice()
        return lambda names: _chosen(condition(names), yes, no, names)

    def binary(self, level: int) -> Evaluate:
        if level == len(self.levels):
            return self.unary()
        left = self.binary(level + 1)
        while self.tokens and self.tokens[0] in self.levels[level]:
            left = _joined(self.next(), left, self.binary(level + 1))
        return left

    def unary(self) -> Evaluate:
        if self.tokens and self.tokens[0] in ("!", "-"):
            sign, part = self.next(), self.unary()
            return lambda names: _signed(sign, part(names))
        return self.primary()

    def primary(self) -> Evaluate:
        token = self.next()
        if token == "(":
            inner = self.choice()
            self.next(")")
            return inner
        if token == "[":
            parts = self.arguments("]")
            return lambda names: [part(names) for part in parts]
        if token[0] in "\"'":
            return lambda _: token[1:-1]
        if token[0].isdigit():
            number = float(token) if "." in token else int(token)
            return lambda _: number
        if token in ("true", "false"):
            return lambda _: token == "true"
        return self.call(token) if self.tokens and self.tokens[0] == "(" else lambda names: names.get(token, UNKNOWN)

    def call(self, function: str) -> Evaluate:
        self.next("(")
        if function == "has":
            name = self.next()
            self.next(")")
            return lambda names: name in names
        if function not in ("min", "max", "abs"):
            raise ValueError(f"the oracle does not know the function {function} in {self.text!r}")
        parts = self.arguments(")")
        return lambda names: _applied(function, [part(names) for part in parts])

    def arguments(self, end: str) -> list[Evaluate]:
        found = []
        while self.tokens and self.tokens[0] != end:
            found.append(self.choice())
            if self.tokens and self.tokens[0] == ",":
                self.next(",")
        self.next(end)
        return found


def _chosen(condition: Result, yes: Evaluate, no: Evaluate, names: Names) -> Result:
    return UNKNOWN if isinstance(condition, Unknown) else (yes if condition else no)(names)


def _signed(sign: str, value: Result) -> Result:
    if isinstance(value, Unknown):
        return UNKNOWN
    assert isinstance(value, bool | int | float)
    return (not value) if sign == "!" else -value


def _applied(function: str, values: list[Result]) -> Result:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values):
        return UNKNOWN
    if function == "abs":
        return abs(numbers[0])
    return min(numbers) if function == "min" else max(numbers)


def _joined(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    if sign in ("&&", "||"):
        decides = sign == "||"
        return lambda names: _logical(decides, left(names), right(names))
    return lambda names: _combined(sign, left(names), right(names))


def _logical(decides: bool, one: Result, other: Result) -> Result:
    if one is decides or other is decides:
        return decides
    return UNKNOWN if isinstance(one, Unknown) or isinstance(other, Unknown) else not decides


def _combined(sign: str, one: Result, other: Result) -> Result:
    if isinstance(one, Unknown) or isinstance(other, Unknown):
        return UNKNOWN
    if sign == "in":
        assert isinstance(other, list)
        known = [entry for entry in other if not isinstance(entry, Unknown)]
        return one in known or (UNKNOWN if len(known) < len(other) else False)
    if sign in ("/", "%"):
        return _divided(sign, one, other)
    plain: Mapping[str, Callable[[object, object], Result]] = _PLAIN
    found = plain[sign](one, other)
    return UNKNOWN if type(found) is int and not -_LARGEST <= found < _LARGEST else found


_PLAIN: Mapping[str, Callable[..., Result]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def _divided(sign: str, one: Result, other: Result) -> Result:
    """Whole numbers divide to a whole number towards zero, and the remainder has the sign of the first."""
    assert isinstance(one, int | float) and isinstance(other, int | float)
    if not other:
        return UNKNOWN
    if isinstance(one, float) or isinstance(other, float):
        return one / other if sign == "/" else UNKNOWN
    whole = abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)
    return trunc(whole) if sign == "/" else one - whole * other
