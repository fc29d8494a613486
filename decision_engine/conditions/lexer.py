"""Cuts the text of a condition into tokens."""

import math
import re
from dataclasses import dataclass
from enum import Enum

from decision_engine.conditions.errors import ConditionError

LARGEST_INT = 2**63 - 1
"""Integers are 64 bits, as in CEL."""

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+ | //[^\n]*)
  | (?P<double>(?:\d+\.\d+|\.\d+)(?:[eE][+-]?\d+)? | \d+[eE][+-]?\d+)
  | (?P<int>0[xX][0-9a-fA-F]+ | \d+)
  | (?P<raw>[rR](?:"[^"\n]*" | '[^'\n]*'))
  | (?P<string>"(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<symbol>&&|\|\||==|!=|<=|>=|[<>!+\-*/%?:.,()\[\]])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_SIMPLE_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?",
}  # fmt: skip


class TokenKind(Enum):
    """What a token is."""

    LITERAL = "literal"
    NAME = "name"
    SYMBOL = "symbol"
    """Operators, brackets, and the word `in`."""
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its text as written, where it begins, and for a literal its value."""

    kind: TokenKind
    text: str
    position: int
    value: bool | int | float | str | None = None


def tokenize(text: str) -> list[Token]:
    """The tokens, an END token last; raises ConditionError at the first character that fits nothing."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConditionError(_unreadable(text, position), position)
        if match.lastgroup != "space":
            tokens.append(_token(match))
        position = match.end()
        _refuse_glued(text, match)
    tokens.append(Token(TokenKind.END, "", len(text)))
    return tokens


def _unreadable(text: str, position: int) -> str:
    character = text[position]
    if character in "\"'":
        return "the text in quotes is not closed"
    if character in "{}":
        return "there are no maps and messages here; write [ ] for a list"
    if character == "=":
        return "a single = compares nothing; write =="
    if character in "&|":
        return f"a single {character} is no operator; write {character * 2}"
    return f"unexpected character {character!r}"


def _refuse_glued(text: str, match: re.Match[str]) -> None:
    """`1u`, `5days`: a number must not run into a name."""
    if match.lastgroup in ("int", "double") and match.end() < len(text):
        following = text[match.end()]
        if following in "uU":
            raise ConditionError("there are no unsigned numbers; leave the u away", match.end())
        if following.isalpha() or following == "_":
            raise ConditionError(f"a number runs into {following!r}", match.end())


def _token(match: re.Match[str]) -> Token:
    text, position = match.group(), match.start()
    match match.lastgroup:
        case "int":
            return Token(TokenKind.LITERAL, text, position, _integer(text, position))
        case "double":
            return Token(TokenKind.LITERAL, text, position, _double(text, position))
        case "raw":
            return Token(TokenKind.LITERAL, text, position, text[2:-1])
        case "string":
            return Token(TokenKind.LITERAL, text, position, _unescape(text[1:-1], position + 1))
        case "name" if text in ("true", "false"):
            return Token(TokenKind.LITERAL, text, position, text == "true")
        case "name" if text == "null":
            raise ConditionError("null is not supported; ask has(name) whether a value is known", position)
        case "name" if text != "in":
            return Token(TokenKind.NAME, text, position)
        case _:
            return Token(TokenKind.SYMBOL, text, position)


def _integer(text: str, position: int) -> int:
    value = int(text, 16) if text[:2].lower() == "0x" else int(text)
    # One more than the largest is let through here: a minus before it makes it the smallest.
    if value > LARGEST_INT + 1:
        raise ConditionError("the number does not fit into 64 bits", position)
    return value


def _double(text: str, position: int) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ConditionError("the number is too large", position)
    return value


def _unescape(body: str, position: int) -> str:
    def replace(match: re.Match[str]) -> str:
        code = match.group(1) or match.group(2) or match.group(3)
        if code is not None:
            return _character(int(code, 16), position + match.start())
        if match.group(4) is not None:
            return _character(int(match.group(4), 8), position + match.start())
        simple = _SIMPLE_ESCAPES.get(match.group(5))
        if simple is None:
            raise ConditionError(f"unknown escape {match.group()!r}", position + match.start())
        return simple

    return _ESCAPE.sub(replace, body)


def _character(code: int, position: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ConditionError("the escape names no character", position)
    return chr(code)
