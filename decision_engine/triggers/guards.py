"""The guards of a trigger: conditions over a customer's attributes and the matching event's fields."""

from collections.abc import Callable, Mapping

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.customer import CustomerSnapshot
from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import AttributeInfo, AttributeType, Value

EVENT_PREFIX = "event."
"""Before the name of a field of the matching event."""

Snapshot = Callable[[], CustomerSnapshot]
Guard = Callable[[Snapshot, Mapping[str, Value], int], bool]
"""From the customer, the matching event's fields and the moment to whether it holds; what cannot be told does not."""


def guard_types(
    dictionary: Mapping[str, AttributeInfo], fields: Mapping[str, AttributeType]
) -> dict[str, AttributeType]:
    """The names a guard may use: the dictionary's attributes, and `event.<field>`."""
    types = {name: info.type for name, info in dictionary.items()}
    return types | {EVENT_PREFIX + name: kind for name, kind in fields.items()}


def compile_guard(text: str | None, types: Mapping[str, AttributeType]) -> Guard | None:
    """The guard of that text, None for none. Raises DecisionEngineError for one that cannot be read or does not fit."""
    if text is None:
        return None
    try:
        checked = checked_condition(text, types)
    except ConditionError as cause:
        raise DecisionEngineError(f"the guard {text!r} cannot be used: {cause}") from cause
    run = compile_expression(checked)
    attributes = tuple(name for name in checked.names if not name.startswith(EVENT_PREFIX))
    fields = tuple((name, name.removeprefix(EVENT_PREFIX)) for name in checked.names if name.startswith(EVENT_PREFIX))

    def holds(snapshot: Snapshot, event: Mapping[str, Value], at_ms: int) -> bool:
        customer = snapshot()
        values = {name: customer.attributes[name] for name in attributes if name in customer.attributes}
        values |= {name: event[field] for name, field in fields if field in event}
        return run(Facts(values, customer.holdings, at_ms)) is True

    return holds
