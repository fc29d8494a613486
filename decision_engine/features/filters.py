"""The filters of one event type, evaluated together: an event in, a bit mask of the filters it passes out."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from decision_engine.conditions.check import CheckedExpression, checked_condition
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.evaluation import Facts
from decision_engine.conditions.parser import parse
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.conditions.syntax import Call, Expression, children
from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.types_by_use import types_by_use

EventFilters = Callable[[Mapping[str, Value], int], int]
"""From the fields of an event and its time (epoch milliseconds) to a mask; bit i is the i-th filter."""

_NO_HOLDINGS: frozenset[str] = frozenset()


def compile_filters(wheres: Sequence[str], fields: Mapping[str, AttributeType] | None) -> EventFilters:
    """Compiles filters over the fields of one event type; an empty text lets everything through
    and comes last. `now` is the time of the event.

    Without `fields` a name has the type that its use asks for. Raises DecisionEngineError for a filter that cannot
    be read or does not fit the fields.
    """
    conditions = [(bit, _checked(where, fields)) for bit, where in enumerate(wheres) if where]
    always = sum(1 << bit for bit, where in enumerate(wheres) if not where)
    if not conditions:
        return lambda _fields, _time_ms: always
    index = PredicateIndex.build([condition for _, condition in conditions])
    # The index numbers conditions only: filters that let everything through come last, so that its bits are ours.
    if [bit for bit, _ in conditions] != list(range(len(conditions))):
        raise DecisionEngineError("empty filters must stand behind the others")

    def evaluate(values: Mapping[str, Value], time_ms: int) -> int:
        return index.evaluate(Facts(values, _NO_HOLDINGS, time_ms)) | always

    return evaluate


def _checked(where: str, fields: Mapping[str, AttributeType] | None) -> CheckedExpression:
    try:
        expression = parse(where)
        if any(_asks_for_holdings(part) for part in _parts(expression)):
            raise DecisionEngineError(
                f"the filter {where!r} cannot be used: a filter knows only the event, no products"
            )
        return checked_condition(where, types_by_use(expression, AttributeType.BOOL) if fields is None else fields)
    except ConditionError as cause:
        raise DecisionEngineError(f"the filter {where!r} cannot be used: {cause}") from cause


def _asks_for_holdings(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.function == "has_product"


def _parts(expression: Expression) -> Iterator[Expression]:
    yield expression
    for child in children(expression):
        yield from _parts(child)
