"""Bytes to typed events and back: structured JSON, and CloudEvents' binary mode with `ce_*` headers."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
from pydantic import ValidationError

from event_schemas.catalogue import EVENT_ADAPTER, EVENT_TYPES, VERSIONS, Event
from event_schemas.envelope import schema_uri
from event_schemas.upcasters import UPCASTERS, UpcastFailed, upcast

__all__ = [
    "EVENT_TYPES",
    "MAX_EVENT_BYTES",
    "MAX_RECORD_BYTES",
    "DecodeError",
    "Event",
    "EventTooLarge",
    "MalformedEvent",
    "UnknownEventType",
    "decode",
    "encode",
    "encode_trusted",
]

MAX_EVENT_BYTES = 64 * 1024
"""The largest event the bank may send."""
MAX_RECORD_BYTES = 900 * 1000
"""The largest event of our own (`nbo.*`): decision records carry every candidate; below the bus's default of 1 MB."""

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SHOWN_PROBLEMS = 5
_SUFFIXES = {name: f"/{name}/{version}" for name, version in VERSIONS.items()}
_URIS = {name: schema_uri(name, version) for name, version in VERSIONS.items()}


class DecodeError(ValueError):
    """The bytes are no event we can read. `reason` is a code for metrics and dead letters; the message names
    fields, never values, because it is logged."""

    reason = "undecodable"


class MalformedEvent(DecodeError):
    """Not JSON, or fields are missing, unknown or out of bounds."""

    reason = "malformed"


class UnknownEventType(DecodeError):
    """A type, or a version of a type, that this release does not know."""

    reason = "unknown_type"


class EventTooLarge(DecodeError):
    """More bytes than an event may have."""

    reason = "too_large"


def decode(value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> Event:
    """The event in the newest version of its type. Raises DecodeError, and nothing else, whatever the bytes."""
    if len(value) > MAX_RECORD_BYTES:
        raise EventTooLarge(f"{len(value)} bytes are more than the {MAX_RECORD_BYTES} a record may have")
    for name, _ in headers:
        if name == "ce_type":
            value = _structured(value, headers)
            break
    try:
        event = EVENT_ADAPTER.validate_json(value)
    except ValidationError as cause:
        return _decode_older(value, cause)
    if len(value) > MAX_EVENT_BYTES and not event.type.startswith("nbo."):
        raise EventTooLarge(f"{len(value)} bytes are more than the {MAX_EVENT_BYTES} an event may have")
    if event.dataschema is not None and not event.dataschema.endswith(_SUFFIXES[event.type]):
        return _decode_older(value, None)
    return event


def encode(event: Event) -> bytes:
    """Structured JSON with the `dataschema` of the newest version; absent fields are left out."""
    if event.dataschema is None:
        event = event.model_copy(update={"dataschema": _URIS[event.type]})
    return EVENT_ADAPTER.dump_json(event, exclude_none=True)


def encode_trusted(event_type: str, header: Mapping[str, str | datetime], data: Mapping[str, object]) -> bytes:
    """Structured JSON from plain values, unchecked: for our own records on the hot path, where building and
    checking models would cost more than deciding. `header` needs `id`, `source`, `subject` and `time` (a string
    or an aware moment). Raises TypeError when a value has no JSON form."""
    return orjson.dumps(
        {
            "specversion": "1.0",
            "type": event_type,
            "datacontenttype": "application/json",
            "dataschema": _URIS[event_type],
            **header,
            "data": data,
        },
        option=orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY,
    )


def _structured(body: bytes, headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Binary mode as structured JSON."""
    try:
        envelope: dict[str, object] = {
            name[3:]: text.decode() for name, text in headers if name.startswith("ce_") and len(name) <= 64
        }
        envelope["data"] = orjson.loads(body)
        return orjson.dumps(envelope)
    except (ValueError, TypeError) as cause:
        raise MalformedEvent("the body is no JSON, or a ce_ header is no UTF-8") from cause


def _decode_older(value: bytes, cause: ValidationError | None) -> Event:
    """The slow way: an older version is brought to the newest; everything else is named for what it is."""
    if len(value) > MAX_EVENT_BYTES and cause is not None:
        raise _refusal(cause) from None
    try:
        document = orjson.loads(value)
    except ValueError:
        raise MalformedEvent("the event is no JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise MalformedEvent("type: is missing or no text")
    version = _version(document)
    if version is None or version == VERSIONS[document["type"]]:
        raise _refusal(cause) if cause else MalformedEvent("dataschema: must end /<type>/<version> of this event")
    return _upcast(document, version)


def _version(document: Mapping[str, object]) -> int | None:
    """The version the dataschema names; None when it names none. Raises UnknownEventType, MalformedEvent."""
    event_type = str(document["type"])
    if event_type not in EVENT_TYPES:
        raise UnknownEventType("type: is not one this release knows")
    dataschema = document.get("dataschema")
    if not isinstance(dataschema, str):
        return None
    head, _, number = dataschema.rpartition("/")
    if not head.endswith(f"/{event_type}") or not (number.isascii() and number.isdigit() and len(number) <= 4):
        raise MalformedEvent("dataschema: must end /<type>/<version> of this event")
    version = int(number)
    if version != VERSIONS[event_type] and (event_type, version) not in UPCASTERS:
        raise UnknownEventType(f"dataschema: this release cannot read version {version} of {event_type}")
    return version


def _upcast(document: dict[str, object], version: int) -> Event:
    event_type, data = str(document["type"]), document.get("data")
    if not isinstance(data, dict):
        raise MalformedEvent("data: is missing or no object")
    try:
        newest, newer = upcast(event_type, version, data)
        text = orjson.dumps({**document, "dataschema": schema_uri(event_type, newest), "data": newer})
        return EVENT_ADAPTER.validate_json(text)
    except UpcastFailed as cause:
        raise MalformedEvent(str(cause)) from None
    except ValidationError as cause:
        raise _refusal(cause) from None
    except TypeError:
        raise MalformedEvent("the event holds numbers too large to carry") from None


def _refusal(cause: ValidationError) -> DecodeError:
    """What is wrong, by field and without the values."""
    problems = cause.errors(include_url=False, include_input=False, include_context=False)
    if any(problem["type"] == "union_tag_invalid" for problem in problems):
        return UnknownEventType("type: is not one this release knows")
    shown = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems[:_SHOWN_PROBLEMS]]
    more = len(problems) - len(shown)
    return MalformedEvent("; ".join(shown) + (f"; and {more} more" if more else ""))


def _place(location: tuple[int | str, ...]) -> str:
    """The path of a field, without the union's tag in front. A key that does not look like a field's name is left out:
    it may be what somebody is called."""
    parts = [_named(part) for part in location if part not in EVENT_TYPES]
    return ".".join(parts) or "event"


def _named(part: int | str) -> str:
    return str(part) if isinstance(part, int) or _FIELD_NAME.fullmatch(part) else "?"
