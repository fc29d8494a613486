"""The filters of one event type, evaluated together: an event in, a bit mask of the filters it passes out."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from decision_engine.conditions.check import NOW, CheckedExpression, checked_condition
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.evaluation import Facts
from decision_engine.conditions.parser import parse
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.conditions.syntax import Call, Expression, children, names_in
from decision_engine.conditions.typing_rules import Kind
from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.types_by_use import types_by_use

EventFilters = Callable[[Mapping[str, Value], int], int]
"""From the fields of an event and its time (epoch milliseconds) to a mask; bit i is the i-th filter."""

MAX_REMEMBERED = 4_096
"""So many combinations of words are remembered, the first that come; real traffic shows a few dozen."""
_NO_HOLDINGS: frozenset[str] = frozenset()


def compile_filters(wheres: Sequence[str], fields: Mapping[str, AttributeType] | None) -> EventFilters:
    """Compiles filters over the fields of one event type; an empty text lets everything through. `now` is the time of
    the event.

    Without `fields` a name has the type that its use asks for. Raises DecisionEngineError for a filter that cannot
    be read or does not fit the fields.
    """
    conditions = [(bit, _checked(where, fields)) for bit, where in enumerate(wheres) if where]
    always = sum(1 << bit for bit, where in enumerate(wheres) if not where)
    worded = [(bit, condition) for bit, condition in conditions if _of_texts_alone(condition)]
    others = [(bit, condition) for bit, condition in conditions if not _of_texts_alone(condition)]
    if not others:
        return _remembered(worded, always) if worded else lambda _fields, _time_ms: always
    if not worded:
        return _evaluated(others, always)
    by_texts, by_the_rest = _remembered(worded, always), _evaluated(others, 0)
    return lambda values, time_ms: by_texts(values, time_ms) | by_the_rest(values, time_ms)


def _of_texts_alone(condition: CheckedExpression) -> bool:
    """Whether nothing but the words of an event's fields decides: a few of them, asked again and again."""
    return NOW not in names_in(condition.expression) and all(kind is Kind.STRING for kind in condition.types.values())


def _remembered(conditions: Sequence[tuple[int, CheckedExpression]], always: int) -> EventFilters:
    """As evaluated, each combination of words once: looking it up takes a fraction of that."""
    names = tuple(sorted({name for _, condition in conditions for name in condition.names}))
    evaluate = _evaluated(conditions, always)
    known: dict[tuple[Value | None, ...], int] = {}

    def remembered(values: Mapping[str, Value], time_ms: int) -> int:
        words = tuple([values.get(name) for name in names])
        mask = known.get(words)
        if mask is None:
            mask = evaluate(values, time_ms)
            if len(known) < MAX_REMEMBERED:
                known[words] = mask
        return mask

    return remembered


def _evaluated(conditions: Sequence[tuple[int, CheckedExpression]], always: int) -> EventFilters:
    index = PredicateIndex.build([condition for _, condition in conditions])
    bits = [bit for bit, _ in conditions]
    if bits == list(range(len(bits))):  # the index numbers the conditions as the filters are numbered
        return lambda values, time_ms: index.evaluate(Facts(values, _NO_HOLDINGS, time_ms)) | always

    numbered: dict[int, int] = {}

    def evaluate(values: Mapping[str, Value], time_ms: int) -> int:
        passed = index.evaluate(Facts(values, _NO_HOLDINGS, time_ms))
        mask = numbered.get(passed)
        if mask is None:
            mask = sum(1 << bit for place, bit in enumerate(bits) if passed >> place & 1) | always
            if len(numbered) < MAX_REMEMBERED:
                numbered[passed] = mask
        return mask

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
