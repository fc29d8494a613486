"""Reads what a trigger waits for: events of a type that pass a filter, or a moment that the profile tells."""

import re
from collections.abc import Collection, Mapping, Sequence

from decision_engine.features.definitions import AttributeType
from decision_engine.strategy_loading.document import ScalarNode
from decision_engine.strategy_loading.event_conditions import read_event_condition
from decision_engine.strategy_loading.section import Section, suggestion
from decision_engine.strategy_loading.windows import duration_seconds
from decision_engine.triggers.definitions import EventPattern, Pattern, Shape

EventFields = Mapping[str, Mapping[str, AttributeType]]
_MOST_STEPS = 5
_MOST_COUNTED = 50
"""A count remembers twice as many events a customer; beyond that a feature is the better means."""
_SHAPES = (Shape.EVENT, Shape.COUNT, Shape.SEQUENCE, Shape.ABSENCE, Shape.MOMENT)
_PROFILE_UPDATED = "bank.profile.updated"
_NO_LENGTH = re.compile("0[smhd]?")
_FAULTY = Pattern(shape=Shape.EVENT, steps=(EventPattern(source=""),))
"""Stands in for a pattern that could not be read."""


def read_length(section: Section, key: str, default_ms: int | None = None) -> int:
    """`90s`, `30m`, `24h` or `2d` in milliseconds; without a default it must be there."""
    if default_ms is not None and section.get(key) is None:
        return default_ms
    return (duration_seconds(section, key) or 1) * 1_000


def read_event(section: Section, event_fields: EventFields) -> EventPattern:
    """`event` and `where` of a section."""
    source = section.text("event")
    fields = event_fields.get(source)
    if source and fields is None:
        section.problem(f"unknown event type {source}{suggestion(source, sorted(event_fields))}", "event")
    return EventPattern(source=source, where=read_event_condition(section, "where", fields))


def read_events(section: Section, key: str, event_fields: EventFields) -> tuple[EventPattern, ...]:
    """A list of `{event, where}`."""
    found = []
    for item in section.sections(key):
        found.append(read_event(item, event_fields))
        item.finish()
    return tuple(found)


def read_pattern(
    section: Section, event_fields: EventFields, profile: Mapping[str, AttributeType], doubtful: Collection[str]
) -> Pattern:
    """The `on` of a trigger. `profile` are the attributes that the profile tells, `doubtful` those whose declaration is
    at fault already."""
    given = [shape for shape in _SHAPES if section.has(shape)]
    if len(given) != 1:
        section.problem(f"names one of {', '.join(_SHAPES)}")
        return _FAULTY
    shape = given[0]
    if shape is Shape.EVENT:
        pattern = Pattern(shape=shape, steps=(read_event(section, event_fields),))
    elif shape is Shape.MOMENT:
        pattern = _moment(section, profile, doubtful)
    else:
        steps = _steps(section, shape, event_fields)
        pattern = Pattern(
            shape=shape,
            steps=steps,
            within_ms=read_length(section, "within"),
            at_least=section.integer("at_least", least=2, most=_MOST_COUNTED) if shape is Shape.COUNT else 1,
            same=_same(section, steps, event_fields),
        )
    section.finish()
    return pattern


def _moment(section: Section, profile: Mapping[str, AttributeType], doubtful: Collection[str]) -> Pattern:
    """An attribute that names a moment, and how long before (`lead`) or after it (`lag`) the trigger is due."""
    name = section.text(Shape.MOMENT)
    if name and name not in doubtful:
        moments = sorted(each for each, kind in profile.items() if kind is AttributeType.TIMESTAMP)
        if name not in profile:
            section.problem(f"{name} is no attribute of the profile{suggestion(name, moments)}", Shape.MOMENT)
        elif name not in moments:
            section.problem(f"{name} is a {profile[name]}, not a timestamp", Shape.MOMENT)
    if section.given("lead") and section.given("lag"):
        section.problem("a moment has a lead or a lag, not both", "lag")
    shift_ms = _length_or_none(section, "lag") - _length_or_none(section, "lead")
    steps = (EventPattern(source=_PROFILE_UPDATED),)
    return Pattern(shape=Shape.MOMENT, steps=steps, attribute=name, shift_ms=shift_ms)


def _length_or_none(section: Section, key: str) -> int:
    """As `read_length`; 0, and no such key, are no length at all."""
    node = section.get(key)
    if isinstance(node, ScalarNode) and _NO_LENGTH.fullmatch(str(node.value)):
        return 0
    return read_length(section, key, 0)


def _steps(section: Section, shape: Shape, event_fields: EventFields) -> tuple[EventPattern, ...]:
    if shape is Shape.SEQUENCE:
        steps = read_events(section, shape, event_fields)
        if section.given(shape) and not 2 <= len(steps) <= _MOST_STEPS:
            section.problem(f"a sequence has 2 to {_MOST_STEPS} steps, this has {len(steps)}", shape)
        elif not section.given(shape):
            section.problem("is empty", shape)
        return steps or _FAULTY.steps
    # What is waited for comes first: an absence begins with `after`.
    keys = ("after", "absence") if shape is Shape.ABSENCE else ("count",)
    return tuple(_one(section, key, event_fields) for key in keys)


def _one(section: Section, key: str, event_fields: EventFields) -> EventPattern:
    event = section.required_section(key)
    if event is None:
        return _FAULTY.steps[0]
    found = read_event(event, event_fields)
    event.finish()
    return found


def _same(section: Section, steps: Sequence[EventPattern], event_fields: EventFields) -> str | None:
    """A field that all steps have, of one type."""
    name = section.optional_text("same")
    if name is None:
        return None
    kinds = set()
    for step in steps:
        fields = event_fields.get(step.source)
        if fields is None:
            continue  # noted where the step is read
        if name not in fields:
            section.problem(f"{step.source} has no field {name}{suggestion(name, sorted(fields))}", "same")
            return None
        kinds.add(fields[name])
    if len(kinds) > 1:
        section.problem(f"{name} is of another type in another step: {', '.join(sorted(kinds))}", "same")
    return name
