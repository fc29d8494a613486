"""Reads conditions over the fields of an event's data, as features, triggers and attribution filter events with."""

from collections.abc import Mapping

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import Call, Expression, children
from decision_engine.features.definitions import AttributeType
from decision_engine.strategy_loading.conditions import Vocabulary, read_condition
from decision_engine.strategy_loading.section import Section


def read_event_condition(section: Section, key: str, fields: Mapping[str, AttributeType] | None) -> str | None:
    """The condition under the key, None where there is none; faults are noted. With `fields` None the event type is
    unknown, which is noted elsewhere, and the condition is taken as it stands."""
    if section.get(key) is None:
        return None
    if fields is None:
        return section.text(key)
    text = read_condition(section, key, Vocabulary(types=fields))
    try:
        if text and _asks_holdings(parse(text)):
            section.problem("has_product cannot be asked of an event", key)
    except ConditionError:
        pass  # noted by read_condition
    return text


def _asks_holdings(expression: Expression) -> bool:
    if isinstance(expression, Call) and expression.function == "has_product":
        return True
    return any(_asks_holdings(child) for child in children(expression))
