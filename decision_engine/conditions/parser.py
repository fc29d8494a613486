"""Reads a condition: precedence climbing over tokens, with limits that keep any text harmless."""

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.lexer import LARGEST_INT, Token, TokenKind, tokenize
from decision_engine.conditions.macros import MACROS, MOST_PARTS, expanded, height_of, size_of
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

MAX_LENGTH = 10_000
"""Characters of one condition: far beyond anything a person can review."""
MAX_DEPTH = 64
"""Levels of nesting, so that no later step can exhaust the stack."""
MAX_LIST = 1_000
"""Entries of one list."""

_PRECEDENCE = {
    "||": 1, "&&": 2,
    "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3,
    "+": 4, "-": 4,
    "*": 5, "/": 5, "%": 5,
}  # fmt: skip


def parse(text: str) -> Expression:
    """The syntax tree of a condition; raises ConditionError with the position of the first fault."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"a condition has at most {MAX_LENGTH:,} characters, this one {len(text):,}", MAX_LENGTH)
    if not text.strip():
        raise ConditionError("the condition is empty", 0)
    parser = _Parser(tokenize(text))
    expression, _ = parser.conditional(0)
    parser.expect_end()
    return expression


_Sized = tuple[Expression, int]
"""An expression and the height of its tree: a long chain of `+` grows a tree without nesting the text."""


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._parts = 0
        """Parts that macros have been written out to."""

    def conditional(self, depth: int) -> _Sized:
        """condition ? then : otherwise, or anything simpler."""
        start = self._token
        self._check(depth, start)
        condition, height = self._operators(1, depth)
        if not self._accept("?"):
            return condition, height
        then, then_height = self.conditional(depth + 1)
        self._expect(":", "a ? needs a : with the other choice")
        otherwise, otherwise_height = self.conditional(depth + 1)
        node = Conditional(condition=condition, then=then, otherwise=otherwise, position=start.position)
        return node, self._grown(max(height, then_height, otherwise_height), start)

    def expect_end(self) -> None:
        """The whole text must have been read."""
        if self._token.kind is not TokenKind.END:
            raise ConditionError(f"unexpected {self._token.text!r}", self._token.position)

    def _operators(self, lowest: int, depth: int) -> _Sized:
        left, height = self._unary(depth)
        while (operator := self._token).kind is TokenKind.SYMBOL:
            precedence = _PRECEDENCE.get(operator.text, 0)
            if precedence < lowest:
                break
            self._next += 1
            right, right_height = self._operators(precedence + 1, depth)
            if operator.text in ("&&", "||"):
                left, grows = _joined(operator, left, right)
                height = max(height + grows, right_height + 1)
                self._check(height, operator)
            else:
                left = Binary(operator=operator.text, left=left, right=right, position=operator.position)
                height = self._grown(max(height, right_height), operator)
        return left, height

    def _unary(self, depth: int) -> _Sized:
        token = self._token
        if token.kind is not TokenKind.SYMBOL or token.text not in ("!", "-"):
            return self._postfix(depth)
        self._next += 1
        self._check(depth, token)
        if token.text == "-" and (number := self._number()) is not None:
            return Literal(value=-number, position=token.position), 1
        operand, height = self._unary(depth + 1)
        return Unary(operator=token.text, operand=operand, position=token.position), self._grown(height, token)

    def _number(self) -> int | float | None:
        """The literal number that comes next, so that the smallest integer can be written."""
        token = self._token
        if token.kind is TokenKind.LITERAL and type(token.value) in (int, float):
            self._next += 1
            return token.value if isinstance(token.value, int | float) else None
        return None

    def _postfix(self, depth: int) -> _Sized:
        expression, height = self._primary(depth)
        while self._accept("."):
            method = self._token
            if method.kind is not TokenKind.NAME or self._tokens[self._next + 1].text != "(":
                raise ConditionError("after the dot comes a function, such as startsWith(…)", method.position)
            self._next += 2
            arguments, argument_height = self._sequence(")", depth)
            call = Call(function=method.text, arguments=(expression, *arguments), position=method.position, method=True)
            if method.text in MACROS:
                expression, height = self._written_out(call, method)
                continue
            expression, height = call, self._grown(max(height, argument_height), method)
        return expression, height

    def _written_out(self, macro: Call, token: Token) -> _Sized:
        """What the macro stands for; all macros of a condition together may grow it only so far."""
        expression = expanded(macro)
        self._parts += size_of(expression)
        if self._parts > MOST_PARTS:
            raise ConditionError(f"the lists of this condition are too large for {token.text}", token.position)
        height = height_of(expression)
        self._check(height, token)
        return expression, height

    def _primary(self, depth: int) -> _Sized:
        token = self._token
        self._next += 1
        if token.kind is TokenKind.LITERAL and token.value is not None:
            if type(token.value) is int and token.value > LARGEST_INT:
                raise ConditionError("the number does not fit into 64 bits", token.position)
            return Literal(value=token.value, position=token.position), 1
        if token.kind is TokenKind.NAME:
            return self._name_or_call(token, depth)
        if token.text == "(":
            inner = self.conditional(depth + 1)
            self._expect(")", "a ( is not closed")
            return inner
        if token.text == "[":
            items, height = self._sequence("]", depth)
            return ListLiteral(items=items, position=token.position), self._grown(height, token)
        expected = "the condition ends too early" if token.kind is TokenKind.END else f"unexpected {token.text!r}"
        raise ConditionError(expected, token.position)

    def _name_or_call(self, first: Token, depth: int) -> _Sized:
        if self._accept("("):
            arguments, height = self._sequence(")", depth)
            return Call(function=first.text, arguments=arguments, position=first.position), self._grown(height, first)
        name = first.text
        while self._token.text == "." and self._tokens[self._next + 1].kind is TokenKind.NAME:
            if self._tokens[self._next + 2].text == "(":
                break
            name += "." + self._tokens[self._next + 1].text
            self._next += 2
        return Name(name=name, position=first.position), 1

    def _sequence(self, closing: str, depth: int) -> tuple[tuple[Expression, ...], int]:
        items: list[Expression] = []
        height = 0
        while not self._accept(closing):
            if items:
                self._expect(",", f"expected , or {closing}")
            item, item_height = self.conditional(depth + 1)
            items.append(item)
            height = max(height, item_height)
            if len(items) > MAX_LIST:
                raise ConditionError(f"a list has at most {MAX_LIST:,} entries", item.position)
        return tuple(items), height

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _accept(self, symbol: str) -> bool:
        if self._token.kind is TokenKind.SYMBOL and self._token.text == symbol:
            self._next += 1
            return True
        return False

    def _expect(self, symbol: str, otherwise: str) -> None:
        if not self._accept(symbol):
            raise ConditionError(otherwise, self._token.position)

    def _grown(self, height: int, token: Token) -> int:
        self._check(height + 1, token)
        return height + 1

    def _check(self, depth: int, token: Token) -> None:
        if depth > MAX_DEPTH:
            raise ConditionError(f"the condition nests deeper than {MAX_DEPTH} levels", token.position)


def _joined(operator: Token, left: Expression, right: Expression) -> tuple[Expression, int]:
    """A flat chain of one logical operator, and by how much it is higher than its left part."""
    if isinstance(left, Logical) and left.operator == operator.text:
        return Logical(operator=operator.text, operands=(*left.operands, right), position=left.position), 0
    return Logical(operator=operator.text, operands=(left, right), position=left.position), 1
