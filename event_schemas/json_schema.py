"""JSON Schemas of every event type, and what between two of them would break a reader of old events."""

from collections.abc import Iterator, Mapping

from event_schemas.catalogue import EVENT_TYPES, VERSIONS
from event_schemas.envelope import schema_uri

Schema = Mapping[str, object]

_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def export_json_schemas() -> dict[str, dict[str, object]]:
    """File name `<type>.<version>.json` to the JSON Schema (2020-12) of the whole event, envelope included."""
    return {f"{name}.{VERSIONS[name]}.json": event_schema(name) for name in EVENT_TYPES}


def event_schema(event_type: str) -> dict[str, object]:
    """The JSON Schema of the newest version of one event type. Raises KeyError for an unknown type."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_uri(event_type, VERSIONS[event_type]),
        **EVENT_TYPES[event_type].model_json_schema(),
    }


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Why events that were valid under `old` may be refused under `new`; empty when every one still reads.

    Conservative: a changed pattern counts as breaking, because whether it became wider cannot be told."""
    return list(_compare("", _Side(old, old), _Side(new, new)))


class _Side:
    """A schema within its document, with references followed."""

    __slots__ = ("document", "schema")

    def __init__(self, document: Schema, schema: Schema) -> None:
        self.document = document
        self.schema = _followed(document, schema)

    def within(self, schema: object) -> "_Side":
        return _Side(self.document, schema if isinstance(schema, Mapping) else {})

    def properties(self) -> Mapping[str, object]:
        found = self.schema.get("properties")
        return found if isinstance(found, Mapping) else {}

    def texts(self, keyword: str) -> set[str]:
        found = self.schema.get(keyword)
        return {str(item) for item in found} if isinstance(found, list | tuple) else set()

    def branches(self) -> list["_Side"]:
        """The alternatives of `anyOf`; a plain schema is its own only one."""
        found = self.schema.get("anyOf")
        return [self.within(item) for item in found] if isinstance(found, list) else [self]


def _followed(document: Schema, schema: Schema) -> Schema:
    reference = schema.get("$ref")
    definitions = document.get("$defs")
    if not isinstance(reference, str) or not isinstance(definitions, Mapping):
        return schema
    target = definitions.get(reference.rpartition("/")[2])
    return _followed(document, target) if isinstance(target, Mapping) else schema


def _compare(path: str, old: _Side, new: _Side) -> Iterator[str]:
    if "anyOf" in old.schema or "anyOf" in new.schema:
        yield from _compare_branches(path, old, new)
        return
    place = path or "event"
    yield from _compare_type(place, old, new)
    yield from _compare_bounds(place, old, new)
    yield from _compare_properties(path, old, new)
    yield from _compare_members(path, old, new)


def _compare_members(path: str, old: _Side, new: _Side) -> Iterator[str]:
    """The schemas of list items and of free keys, however a key's name is bounded."""
    for keyword in ("items", "additionalProperties"):
        if isinstance(old.schema.get(keyword), Mapping) and isinstance(new.schema.get(keyword), Mapping):
            yield from _compare(f"{path}[]", old.within(old.schema[keyword]), new.within(new.schema[keyword]))
    before, after = old.schema.get("patternProperties"), new.schema.get("patternProperties")
    if isinstance(after, Mapping):
        if not isinstance(before, Mapping) or before.keys() != after.keys():
            yield f"{path or 'event'}: the pattern of keys changed"
            return
        for pattern, schema in before.items():
            yield from _compare(f"{path}[]", old.within(schema), new.within(after[pattern]))


def _compare_branches(path: str, old: _Side, new: _Side) -> Iterator[str]:
    """Every alternative of the old schema must fit some alternative of the new."""
    accepted = new.branches()
    for branch in old.branches():
        if not any(not list(_compare(path, branch, other)) for other in accepted):
            yield f"{path or 'event'}: {_named(branch)} is accepted no longer, or more narrowly"


def _named(side: _Side) -> str:
    return str(side.schema.get("type", side.schema.get("const", "an alternative")))


def _compare_type(place: str, old: _Side, new: _Side) -> Iterator[str]:
    before, after = old.schema.get("type"), new.schema.get("type")
    if after is not None and before != after and (before, after) != ("integer", "number"):
        yield f"{place}: type {before} became {after}"
    if "const" in new.schema and new.schema["const"] != old.schema.get("const"):
        yield f"{place}: only {new.schema['const']} is accepted now"
    if "enum" in new.schema:
        for gone in sorted((old.texts("enum") or {"any value"}) - new.texts("enum")):
            yield f"{place}: {gone} is no longer accepted"


def _compare_bounds(place: str, old: _Side, new: _Side) -> Iterator[str]:
    for keywords, sign in ((_LOWER_BOUNDS, 1), (_UPPER_BOUNDS, -1)):
        for keyword in keywords:
            before, after = old.schema.get(keyword), new.schema.get(keyword)
            if isinstance(after, int | float) and (not isinstance(before, int | float) or sign * after > sign * before):
                yield f"{place}: {keyword} went from {before} to {after}"
    for keyword in ("pattern", "format", "propertyNames"):
        if keyword in new.schema and old.schema.get(keyword) != new.schema[keyword]:
            yield f"{place}: {keyword} changed"


def _compare_properties(path: str, old: _Side, new: _Side) -> Iterator[str]:
    before, after = old.properties(), new.properties()
    for name in sorted(new.texts("required") - old.texts("required")):
        yield f"{_join(path, name)}: is required now"
    for name, schema in before.items():
        if name in after:
            yield from _compare(_join(path, name), old.within(schema), new.within(after[name]))
        elif new.schema.get("additionalProperties") is False:
            yield f"{_join(path, name)}: was removed, and unknown fields are refused"
    closed = new.schema.get("additionalProperties") is False
    if closed and old.schema.get("additionalProperties") is not False:
        yield f"{path or 'event'}: unknown fields are refused now"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
