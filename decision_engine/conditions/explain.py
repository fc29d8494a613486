"""Says in words why a condition does not hold."""

from datetime import UTC, datetime, timedelta

from decision_engine.conditions.check import NOW, CheckedExpression
from decision_engine.conditions.evaluation import MISSING, Facts, Missing, compile_expression
from decision_engine.conditions.rendering import render
from decision_engine.conditions.syntax import Call, Expression, Literal, Logical, children, names_in
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def explain_false(checked: CheckedExpression, facts: Facts) -> str:
    """The parts that fail and the values they met, such as `age >= 18: age is 16`; empty if the condition holds."""
    if compile_expression(checked)(facts) is True:
        return ""
    failing = _failing(checked, checked.expression, facts)
    return "; ".join(_explained(checked, part, facts) for part in failing)


def _failing(checked: CheckedExpression, expression: Expression, facts: Facts) -> list[Expression]:
    """Of an `&&` the parts that are not true, of an `||` all of its parts: every one of them fell short."""
    if not isinstance(expression, Logical):
        return [expression]
    parts: list[Expression] = []
    for operand in expression.operands:
        if _value(checked, operand, facts) is not True:
            parts += _failing(checked, operand, facts)
    return parts


def _value(checked: CheckedExpression, expression: Expression, facts: Facts) -> Value | Missing:
    part = CheckedExpression(expression=expression, type=Kind.BOOL, types=checked.types)
    return compile_expression(part)(facts)


def _explained(checked: CheckedExpression, part: Expression, facts: Facts) -> str:
    met = [_attribute(checked, name, facts) for name in dict.fromkeys(names_in(part))]
    met += [_holding(product, facts) for product in dict.fromkeys(_products(part))]
    return f"{render(part)}: {', '.join(met)}" if met else f"{render(part)}: never holds"


def _attribute(checked: CheckedExpression, name: str, facts: Facts) -> str:
    if name == NOW:
        return f"now is {_moment(facts.now_ms)}"
    value = facts.values.get(name, MISSING)
    if value is MISSING:
        return f"{name} is not known"
    if checked.types[name] is Kind.TIMESTAMP and isinstance(value, int):
        return f"{name} is {_moment(value)}"
    return f"{name} is {render(Literal(value=value, position=0))}"


def _holding(product: str, facts: Facts) -> str:
    return f"{product} is {'held' if product in facts.holdings else 'not held'}"


def _products(expression: Expression) -> list[str]:
    match expression:
        case Call(function="has_product", arguments=(Literal(value=str(product)),)):
            return [product]
        case _:
            return [product for child in children(expression) for product in _products(child)]


def _moment(epoch_ms: int) -> str:
    try:
        return (_EPOCH + timedelta(milliseconds=epoch_ms)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{epoch_ms} ms"
