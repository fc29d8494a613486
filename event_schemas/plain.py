"""Events as plain values: checked by the very schema of the models, without building any.

Whoever folds a hundred thousand events a second needs their values, not their classes. The validators here are the
models' own, with every model replaced by a dictionary of the same fields; whatever they refuse goes through
`codec.decode`, which reads older versions and says what is wrong.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from event_schemas.catalogue import EVENT_TYPES, VERSIONS, Event
from event_schemas.codec import MAX_EVENT_BYTES, decode
from event_schemas.envelope import epoch_ms
from event_schemas.topics import STATE_TOPICS, topic_for


class PlainEvent(NamedTuple):
    """An event of a state topic. `data` holds the fields that are there, dates as dates; absent ones are absent."""

    type: str
    id: str
    source: str
    subject: str
    time_ms: int
    data: Mapping[str, object]


def decode_plain(value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> PlainEvent:
    """As `codec.decode`, which it agrees with on every input. Raises DecodeError, and nothing else."""
    for name, _ in headers:
        if name == "ce_type":
            return plain_event(decode(value, headers))
    if len(value) > MAX_EVENT_BYTES:
        return plain_event(decode(value))
    try:
        event = _VALIDATE(value)
    except ValidationError:
        return plain_event(decode(value))
    event_type: str = event["type"]
    named = event.get("dataschema")
    if named is not None and not named.endswith(_SUFFIXES[event_type]):
        return plain_event(decode(value))
    data: dict[str, object] = event["data"]
    if None in data.values():
        data = {name: given for name, given in data.items() if given is not None}
    return PlainEvent(event_type, event["id"], event["source"], event["subject"], epoch_ms(event["time"]), data)


def plain_event(event: Event) -> PlainEvent:
    """The values of an event that has been decoded."""
    values = event.data.__dict__
    data = {name: values[name] for name in event.data.model_fields_set if values[name] is not None}
    return PlainEvent(event.type, event.id, event.source, event.subject, event.time_ms, data)


class _NeedsModel(Exception):
    """A schema with rules that a dictionary of its fields would lose."""


def _without_models(schema: Any) -> Any:
    """The core schema of a model as one of a dictionary: the same fields under the same rules, those with a default
    may be absent. Raises _NeedsModel for a model that does more than hold fields, whose rules would be lost."""
    if not isinstance(schema, Mapping):
        return [_without_models(part) for part in schema] if isinstance(schema, list) else schema
    kind = schema.get("type")
    if kind in ("definitions", "definition-ref", "dataclass", "model-fields") or _has_more(schema):
        raise _NeedsModel(kind)
    if kind != "model":
        return {name: _without_models(part) for name, part in schema.items() if name != "ref"}
    fields = schema["schema"]["fields"]
    return {"type": "typed-dict", "config": schema["config"], "fields": {n: _field(f) for n, f in fields.items()}}


def _has_more(schema: Mapping[str, Any]) -> bool:
    """Whether a function looks at a model, or a model does something beside holding fields."""
    if schema.get("type") != "model":
        return "function" in schema and _holds_model(schema.get("schema"))
    inner = schema["schema"]
    return bool(
        inner["type"] != "model-fields"
        or inner.get("computed_fields")
        or schema.get("custom_init")
        or schema.get("post_init")
        or schema.get("root_model")
    )


def _holds_model(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(_holds_model(part) for part in schema)
    return isinstance(schema, Mapping) and (
        schema.get("type") in ("model", "definition-ref") or any(_holds_model(part) for part in schema.values())
    )


def _field(field: Mapping[str, Any]) -> dict[str, Any]:
    if "validation_alias" in field:
        raise _NeedsModel("alias")
    schema = field["schema"]
    required = schema["type"] != "default"
    return {
        "type": "typed-dict-field",
        "schema": _without_models(schema if required else schema["schema"]),
        "required": required,
    }


def _choices() -> dict[str, Any]:
    """The event types of state topics whose models only hold fields; the others are read with their models."""
    choices = {}
    for name in EVENT_TYPES:
        if topic_for(name) in STATE_TOPICS:
            with suppress(_NeedsModel):
                choices[name] = _without_models(TypeAdapter(EVENT_TYPES[name]).core_schema)
    return choices


_CHOICES = _choices()
PLAIN_TYPES = frozenset(_CHOICES)
"""Event types that are read without a model."""
_SUFFIXES = {name: f"/{name}/{VERSIONS[name]}" for name in PLAIN_TYPES}
_VALIDATE = SchemaValidator(
    {"type": "tagged-union", "discriminator": "type", "strict": True, "choices": _CHOICES}
).validate_json
