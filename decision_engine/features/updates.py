"""From wire events to updates; the only module of the engine that knows wire events."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import Enum
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Literal, Union, cast, get_args, get_origin

from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.update import Update
from decision_engine.identifiers import key64
from event_schemas.catalogue import EVENT_TYPES, Event, data_model
from event_schemas.envelope import Moment, epoch_ms
from event_schemas.plain import PlainEvent, plain_event
from event_schemas.topics import STATE_TOPICS, topic_for


def update_from_event(event: Event) -> Update:
    """The part of an event that customer state can depend on. Dates count as midnight UTC of their day."""
    return update_from_plain(plain_event(event))


def update_from_plain(event: PlainEvent) -> Update:
    """As `update_from_event`, of an event read as plain values."""
    data = cast("Mapping[str, Value]", event.data)
    if event.type in _MIXED:
        attributes = _attributes(data) if event.type == _PROFILE else _NO_VALUES
        return Update(
            key64(f"{event.source}/{event.id}"), event.type, event.time_ms, _scalars(data, event.type), attributes
        )
    return Update(key64(f"{event.source}/{event.id}"), event.type, event.time_ms, data)


def topic_index(topic: str) -> int:
    """The position slot of a state topic. Raises ValueError for a topic that state is not folded from."""
    return STATE_TOPICS.index(topic)


def _attributes(data: Mapping[str, object]) -> Mapping[str, Value]:
    return cast("Mapping[str, Value]", data["attributes"])


def _scalars(data: Mapping[str, object], event_type: str) -> dict[str, Value]:
    types = EVENT_FIELDS.get(event_type, _NO_FIELDS)
    fields: dict[str, Value] = {}
    for name, value in data.items():
        if name in types:
            if isinstance(value, _PLAIN):
                fields[name] = value
            elif isinstance(value, date):
                fields[name] = _moment_ms(value)
    return fields


def _moment_ms(value: date) -> int:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    return epoch_ms(moment)


_PLAIN = (bool, int, float, str)
"""A tuple is looked through faster than a union."""
_SCALARS: Mapping[type, AttributeType] = MappingProxyType(
    {
        bool: AttributeType.BOOL,
        int: AttributeType.INT,
        float: AttributeType.DOUBLE,
        str: AttributeType.STRING,
        datetime: AttributeType.TIMESTAMP,
        date: AttributeType.TIMESTAMP,
        get_args(Moment)[0]: AttributeType.TIMESTAMP,
    }
)
_NO_FIELDS: Mapping[str, AttributeType] = MappingProxyType({})
_NO_VALUES: Mapping[str, Value] = MappingProxyType({})
_PROFILE = "bank.profile.updated"


def _attribute_type(annotation: object) -> AttributeType | None:
    """The type of a field as conditions see it; None for what is no scalar."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _attribute_type(get_args(annotation)[0])
    if origin in (Union, UnionType):
        choices = {_attribute_type(choice) for choice in get_args(annotation) if choice is not NoneType}
        return choices.pop() if len(choices) == 1 else None
    if origin is Literal:
        return _attribute_type(type(get_args(annotation)[0]))
    if isinstance(annotation, type):
        if issubclass(annotation, Enum):
            return _attribute_type(type(next(iter(annotation)).value))
        return _SCALARS.get(annotation)
    return None


def _fields_of(event_type: str) -> Mapping[str, AttributeType]:
    types = {name: _attribute_type(info.annotation) for name, info in data_model(event_type).model_fields.items()}
    return MappingProxyType({name: kind for name, kind in types.items() if kind is not None})


EVENT_FIELDS: Mapping[str, Mapping[str, AttributeType]] = MappingProxyType(
    {name: _fields_of(name) for name in EVENT_TYPES if topic_for(name) in STATE_TOPICS}
)
"""Event type to the scalar fields of its data, for every type that travels on a state topic."""
_MIXED = frozenset(
    name
    for name in EVENT_TYPES
    if AttributeType.TIMESTAMP in (types := EVENT_FIELDS.get(name, _NO_FIELDS)).values()
    or types.keys() != data_model(name).model_fields.keys()
)
"""Event types some of whose fields are dates, or no scalars; the data of all others is taken as it is."""
