"""For all events: writing and reading is the identity; for all bytes: an event or a DecodeError, nothing else."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from event_schemas.codec import EVENT_TYPES, DecodeError, decode, encode
from event_schemas.json_schema import event_schema

Schema = dict[str, Any]
QUICK = settings(max_examples=50, deadline=None)


def values_of(document: Schema, schema: Schema) -> st.SearchStrategy[Any]:
    """JSON values the exported schema allows: the decoder must take every one."""
    if "$ref" in schema:
        return values_of(document, document["$defs"][schema["$ref"].rpartition("/")[2]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([values_of(document, branch) for branch in schema["anyOf"]])
    match schema.get("type"):
        case "string":
            return texts_of(schema)
        case "array":
            return st.lists(values_of(document, schema["items"]), max_size=3)
        case "object":
            return objects_of(document, schema)
        case plain:
            return numbers_of(schema) if plain in {"integer", "number"} else PLAIN[str(plain)]


PLAIN: dict[str, st.SearchStrategy[Any]] = {"boolean": st.booleans(), "null": st.none()}


def numbers_of(schema: Schema) -> st.SearchStrategy[int | float]:
    low, high = (
        schema.get("minimum", schema.get("exclusiveMinimum")),
        schema.get("maximum", schema.get("exclusiveMaximum")),
    )
    if schema["type"] == "integer":
        return st.integers(-(2**63) if low is None else low, 2**63 - 1 if high is None else high)
    return st.floats(
        low,
        high,
        exclude_min="exclusiveMinimum" in schema,
        exclude_max="exclusiveMaximum" in schema,
        allow_nan=False,
        allow_infinity=False,
        allow_subnormal=True,
    )


def texts_of(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        moments = st.datetimes(datetime(1972, 1, 1), datetime(2198, 1, 1), timezones=st.just(UTC))
        return moments.map(datetime.isoformat)
    if schema.get("format") == "date":
        return st.dates().map(str)
    if "pattern" in schema:
        exact = schema["pattern"].removeprefix("^").removesuffix("$")
        return st.from_regex(exact, fullmatch=True).filter(lambda text: len(text) <= schema.get("maxLength", 999))
    letters = st.characters(codec="utf-8")
    return st.text(letters, min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 20), 20))


def objects_of(document: Schema, schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    if "patternProperties" in schema:
        [(pattern, member)] = schema["patternProperties"].items()
        keys = texts_of({"pattern": pattern})
    elif "properties" not in schema:
        keys, member = texts_of(schema.get("propertyNames", {})), schema["additionalProperties"]
    else:
        return fields_of(document, schema)
    return st.dictionaries(keys, values_of(document, member), min_size=schema.get("minProperties", 0), max_size=3)


def fields_of(document: Schema, schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: values_of(document, member) for name, member in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: member for name, member in fields.items() if name in required},
        optional={name: member for name, member in fields.items() if name not in required},
    )


@cache
def documents_of(event_type: str) -> st.SearchStrategy[dict[str, Any]]:
    schema = event_schema(event_type)
    plain = st.fixed_dictionaries({"type": st.just(event_type), "dataschema": st.just(f"x/{event_type}/1")})
    return st.builds(lambda drawn, fixed: drawn | fixed, fields_of(schema, schema), plain)


documents = st.sampled_from(sorted(EVENT_TYPES)).flatmap(documents_of)


@QUICK
@given(documents)
def test_what_the_schema_allows_decodes_and_survives_writing_and_reading(document: dict[str, Any]) -> None:
    event = decode(orjson.dumps(document))
    assert event.type == document["type"]
    assert decode(encode(event)) == event


@QUICK
@given(st.binary(max_size=200), st.lists(st.tuples(st.sampled_from(["ce_type", "ce_id", "x"]), st.binary(max_size=9))))
def test_arbitrary_bytes_give_a_decode_error_and_nothing_else(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    try:
        decode(value, headers)
    except DecodeError as refusal:
        assert refusal.reason in {"malformed", "unknown_type", "too_large"}
    else:
        raise AssertionError("random bytes are no event")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(documents, st.data())
def test_a_damaged_event_decodes_or_is_refused(document: dict[str, Any], data: st.DataObject) -> None:
    """One field, anywhere, is replaced by any JSON value; old versions take the same beating."""
    target = data.draw(st.sampled_from([document, document["data"]]))
    name = data.draw(st.sampled_from([*sorted(target), "unheard_of"]))
    target[name] = data.draw(json_values)
    if data.draw(st.booleans()):
        document["dataschema"] = f"x/{document['type']}/0"
    try:
        event = decode(orjson.dumps(document))
    except DecodeError:
        return
    written = decode(encode(event))
    assert written == event.model_copy(update={"dataschema": written.dataschema})
