"""`exists`, `all` and `exists_one` over a list in brackets, written out as the condition they stand for.

`[1, 2].exists(x, x == age)` becomes `1 == age || 2 == age`. An entry that may be unknown makes the whole result
unknown, as a list with an unknown entry is unknown itself; it is asked for that first.
"""

from dataclasses import replace

from decision_engine.conditions.errors import ConditionError
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
    children,
)

MACROS = frozenset({"exists", "all", "exists_one"})
MOST_PARTS = 10_000
"""Parts that the macros of one condition may be written out to: a few nested ones would otherwise be millions."""


def expanded(macro: Call) -> Expression:
    """The condition that `list.macro(variable, condition)` stands for; raises ConditionError if it is no such call."""
    match macro.arguments:
        case (ListLiteral(items=items), Name(name=variable), predicate) if "." not in variable:
            pass
        case (ListLiteral(), *_):
            raise ConditionError(f"write {macro.function}(x, a condition on x)", macro.position)
        case _:
            raise ConditionError(f"{macro.function} goes over a list in brackets: [1, 2].{macro.function}(x, …)",
                                 macro.position)  # fmt: skip
    _refuse_too_many(macro, items, predicate)
    tests = tuple(_substituted(predicate, variable, item) for item in items)
    if not tests:
        return Literal(value=macro.function == "all", position=macro.position)
    if macro.function == "exists_one":
        one = Literal(value=1, position=macro.position)
        result: Expression = Binary(operator="==", left=_count(tests, macro.position), right=one,
                                    position=macro.position)  # fmt: skip
    else:
        result = _chain("||" if macro.function == "exists" else "&&", tests, macro.position)
    return _unless_unknown(items, result, macro.position)


def size_of(expression: Expression) -> int:
    """How many parts the expression has, itself included."""
    return 1 + sum(size_of(child) for child in children(expression))


def height_of(expression: Expression) -> int:
    """Levels of the tree."""
    return 1 + max((height_of(child) for child in children(expression)), default=0)


def _refuse_too_many(macro: Call, items: tuple[Expression, ...], predicate: Expression) -> None:
    """Before anything is written out, so that no text can ask for more than is harmless."""
    parts = (size_of(predicate) + 3) * len(items) + size_of(predicate) * sum(size_of(item) for item in items)
    if parts > MOST_PARTS:
        raise ConditionError(f"{macro.function} over so many entries is too large", macro.position)


def _substituted(expression: Expression, variable: str, value: Expression) -> Expression:
    """The expression with the entry in place of the variable."""

    def put(part: Expression) -> Expression:
        return _substituted(part, variable, value)

    match expression:
        case Name(name=name) if name == variable:
            return value
        case Name(name=name) if name.startswith(f"{variable}."):
            raise ConditionError(f"{variable} is an entry of the list and has no parts", expression.position)
        case Unary(operand=operand):
            return replace(expression, operand=put(operand))
        case Binary(left=left, right=right):
            return replace(expression, left=put(left), right=put(right))
        case Logical(operands=operands):
            return replace(expression, operands=tuple(map(put, operands)))
        case ListLiteral(items=items):
            return replace(expression, items=tuple(map(put, items)))
        case Call(arguments=arguments):
            return replace(expression, arguments=tuple(map(put, arguments)))
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return replace(expression, condition=put(condition), then=put(then), otherwise=put(otherwise))
        case _:
            return expression


def _chain(operator: str, tests: tuple[Expression, ...], position: int) -> Expression:
    """One flat chain; a single test is joined with what changes nothing, so that it has to be a yes or no."""
    operands: list[Expression] = []
    for test in tests:
        operands += test.operands if isinstance(test, Logical) and test.operator == operator else (test,)
    if len(operands) == 1:
        operands.append(Literal(value=operator == "&&", position=position))
    return Logical(operator=operator, operands=tuple(operands), position=position)


def _count(tests: tuple[Expression, ...], position: int) -> Expression:
    """How many are true, added up pairwise so that the tree stays low."""
    if len(tests) == 1:
        one, none = Literal(value=1, position=position), Literal(value=0, position=position)
        return Conditional(condition=tests[0], then=one, otherwise=none, position=position)
    middle = len(tests) // 2
    left, right = _count(tests[:middle], position), _count(tests[middle:], position)
    return Binary(operator="+", left=left, right=right, position=position)


def _unless_unknown(items: tuple[Expression, ...], result: Expression, position: int) -> Expression:
    """`entry == entry` is unknown exactly if the entry is."""
    uncertain = [item for item in items if not isinstance(item, Literal)]
    if not uncertain:
        return result
    known = tuple(Binary(operator="==", left=item, right=item, position=item.position) for item in uncertain)
    condition = known[0] if len(known) == 1 else Logical(operator="&&", operands=known, position=position)
    return Conditional(
        condition=condition, then=result, otherwise=Literal(value=False, position=position), position=position
    )
