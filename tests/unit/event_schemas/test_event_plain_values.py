"""Reading an event as plain values agrees with reading it as a model, whatever the bytes."""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_schemas.codec import DecodeError, decode
from event_schemas.plain import PLAIN_TYPES, PlainEvent, decode_plain, plain_event
from event_schemas.topics import STATE_TOPICS, topic_for

SAMPLES = sorted((Path(__file__).parents[2] / "golden" / "events").glob("*.json"))
OF_STATE = [
    document
    for document in (orjson.loads(path.read_bytes()) for path in SAMPLES)
    if topic_for(document["type"]) in STATE_TOPICS
]
ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=300),
    st.sampled_from(["", "CNY", "retail:1", "2026-01-01", "2026-01-01T00:00:00Z", "20260101T000000Z", "1767225600"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def by_models(value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> PlainEvent | tuple[type, str]:
    try:
        return plain_event(decode(value, headers))
    except DecodeError as error:
        return type(error), str(error)


def as_plain(value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> PlainEvent | tuple[type, str]:
    try:
        return decode_plain(value, headers)
    except DecodeError as error:
        return type(error), str(error)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_has_the_same_values_both_ways(sample: Path) -> None:
    value = sample.read_bytes()
    assert as_plain(value) == by_models(value)
    assert isinstance(as_plain(value), PlainEvent)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_sample_with_one_field_changed_is_read_or_refused_alike(data: st.DataObject) -> None:
    """Also where a field is dropped, added or null: what one reading refuses the other refuses with the same words."""
    document = dict(data.draw(st.sampled_from(OF_STATE)))
    part = dict(document["data"]) if data.draw(st.booleans()) else document
    name = data.draw(st.sampled_from([*part, "surprise", "time", "subject", "dataschema"]))
    if data.draw(st.booleans()):
        part[name] = data.draw(ODD_VALUES)
    else:
        part.pop(name, None)
    # The standard library's encoder, because it writes whole numbers of any size.
    value = json.dumps(document if part is document else {**document, "data": part}).encode()
    assert as_plain(value) == by_models(value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_event_are_refused_alike(value: bytes) -> None:
    assert as_plain(value) == by_models(value)


def test_all_but_what_has_rules_across_its_fields_is_read_without_a_model() -> None:
    assert {document["type"] for document in OF_STATE} - PLAIN_TYPES == {"bank.business.signal"}


def test_a_field_that_is_null_is_absent() -> None:
    document = next(document for document in OF_STATE if document["type"] == "bank.transaction.posted")
    event = decode_plain(orjson.dumps({**document, "data": {**document["data"], "category": None}}))
    assert "category" not in event.data


def test_binary_mode_is_read_too() -> None:
    document = next(document for document in OF_STATE if document["type"] == "bank.channel.login")
    headers = tuple(
        (f"ce_{name}", str(value).encode())
        for name, value in document.items()
        if name not in ("data", "datacontenttype")
    )
    value = orjson.dumps(document["data"])
    assert as_plain(value, headers) == by_models(value, headers)
    assert isinstance(as_plain(value, headers), PlainEvent)
