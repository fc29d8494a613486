"""Reads the parts of a feature that only some aggregates have: habits, half-lives, accounts, what has to follow."""

from collections.abc import Mapping, Sequence

from decision_engine.features.definitions import AttributeType, Grouping, RollUp, Sequel, Window
from decision_engine.strategy_loading.document import ListNode, MapNode, ScalarNode
from decision_engine.strategy_loading.event_conditions import read_event_condition
from decision_engine.strategy_loading.section import Section, suggestion
from decision_engine.strategy_loading.windows import duration_seconds, feature_window

EventFields = Mapping[str, Mapping[str, AttributeType]]
"""Event type to the fields of its data that conditions and features may use."""
Fields = Mapping[str, AttributeType] | None

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MOST_VALUES = 32
"""Values that may compete for the top: each is a stream of its own."""


def read_source(section: Section, event_fields: EventFields) -> tuple[str, Fields]:
    """The event type and the fields of its data, None when it is not known."""
    source = section.text("source")
    fields = event_fields.get(source)
    if source and fields is None:
        section.problem(f"unknown event type {source}{suggestion(source, sorted(event_fields))}", "source")
    return source, fields


def read_filter(section: Section, fields: Fields, time_zone: str) -> str | None:
    """`where`, `hours` and `weekdays` as one condition over the fields of an event; None without any."""
    written = read_event_condition(section, "where", fields)
    habits = [text for text in (_hours(section, time_zone), _weekdays(section, time_zone)) if text]
    if written and habits:
        return " && ".join([f"({written})", *habits])
    return written or " && ".join(habits) or None


def read_part(section: Section, fields: Fields, time_zone: str) -> str | None:
    """The further condition of a share: a text, or a mapping of `where`, `hours` and `weekdays`."""
    if not isinstance(section.get("part"), MapNode):
        return read_event_condition(section, "part", fields)
    part = section.required_section("part")
    text = read_filter(part, fields, time_zone) if part is not None else None
    if part is not None:
        part.finish()
        if text is None:
            part.problem("a part says where, hours or weekdays")
    return text


def read_half_life(section: Section) -> Window | None:
    """`14d` or `12h`; weeks are seven days."""
    node = section.get("half_life")
    window = None if node is None else feature_window(section, "half_life", node)
    return Window("d", 7 * window.length) if window is not None and window.unit == "w" else window


def read_grouping(section: Section, fields: Fields) -> Grouping | None:
    """`per`, `over` and `at_least`."""
    if section.get("per") is None:
        return None
    field = known_field(section, "per", fields)
    over = section.choice("over", tuple(RollUp))
    at_least = None
    if section.get("at_least") is not None:
        at_least = section.integer("at_least", least=-(1 << 53), most=1 << 53)
    return Grouping(field=field, over=RollUp(over or RollUp.COUNT), at_least=at_least)


def read_sequel(section: Section, event_fields: EventFields, time_zone: str, fields: Fields) -> Sequel | None:
    """`then: {source: …, where: …, within: 2d, same: form}`."""
    then = section.section("then")
    if then is None:
        return None
    source, its_fields = read_source(then, event_fields)
    same = None
    if then.get("same") is not None:
        same = known_field(then, "same", its_fields)
        if same and fields is not None and same not in fields:
            then.problem(f"the first event has no field {same}{suggestion(same, sorted(fields))}", "same")
    sequel = Sequel(
        source=source,
        where=read_filter(then, its_fields, time_zone),
        within_ms=1_000 * (duration_seconds(then, "within") or 0),
        same=same or None,
    )
    then.finish()
    return sequel


def known_field(section: Section, key: str, fields: Fields) -> str:
    """The name of a field of the event; empty after a fault."""
    field = section.text(key)
    if field and fields is not None and field not in fields:
        section.problem(f"the event has no field {field}{suggestion(field, sorted(fields))}", key)
    return field


def read_values(section: Section) -> tuple[str, ...]:
    """The values that compete for the top."""
    values = section.texts("values")
    if len(set(values)) < len(values):
        section.problem("a value stands here twice", "values")
    if len(values) > _MOST_VALUES:
        section.problem(f"at the most {_MOST_VALUES} values can compete", "values")
    return tuple(dict.fromkeys(values))


def _hours(section: Section, time_zone: str) -> str | None:
    """`[22, 6]`: from 22:00 until before 6:00 of the next day."""
    node = section.get("hours")
    if node is None:
        return None
    items = node.items if isinstance(node, ListNode) else ()
    hours = [item.value for item in items if isinstance(item, ScalarNode) and type(item.value) is int]
    if len(hours) != 2 or len(items) != 2 or not (0 <= hours[0] <= 23 and 1 <= hours[1] <= 24) or hours[0] == hours[1]:
        section.problem("hours are a pair such as [9, 17] or [22, 6]: from 0 to 23, until 1 to 24", "hours")
        return None
    begin, end = hours
    hour = f'now.getHours("{time_zone}")'
    return f"({hour} >= {begin} {'&&' if begin < end else '||'} {hour} < {end})"


def _weekdays(section: Section, time_zone: str) -> str | None:
    """`[sat, sun]`."""
    if section.get("weekdays") is None:
        return None
    days = section.texts("weekdays")
    if not days or any(day not in _WEEKDAYS for day in days) or len(set(days)) < len(days):
        section.problem(f"weekdays are a list of different ones of {', '.join(_WEEKDAYS)}", "weekdays")
        return None
    return f'now.getDayOfWeek("{time_zone}") in [{_numbers(days)}]'


def _numbers(days: Sequence[str]) -> str:
    return ", ".join(str(number) for number in sorted(_WEEKDAYS.index(day) for day in days))
