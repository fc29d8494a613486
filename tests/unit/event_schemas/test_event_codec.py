"""What decoding accepts, refuses, and says about it."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from event_schemas.codec import (
    MAX_EVENT_BYTES,
    MAX_RECORD_BYTES,
    DecodeError,
    EventTooLarge,
    MalformedEvent,
    UnknownEventType,
    decode,
    encode,
    encode_trusted,
)
from event_schemas.envelope import epoch_ms, from_epoch_ms
from event_schemas.transactions import Transaction, TransactionPosted


def make_document(**changes: object) -> dict[str, Any]:
    """A transaction event; a dotted name changes the data, None removes."""
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": "t-1",
        "type": "bank.transaction.posted",
        "source": "core-banking",
        "subject": "retail:1787",
        "time": "1993-07-05T10:12:00Z",
        "dataschema": "https://bank.example/schemas/bank.transaction.posted/1",
        "data": {"account_id": "1787", "direction": "credit", "amount": 380_000, "currency": "CZK", "kind": "salary"},
    }
    for name, value in changes.items():
        target, key = (document["data"], name[5:]) if name.startswith("data_") else (document, name)
        if value is None:
            del target[key]
        else:
            target[key] = value
    return document


def make_bytes(**changes: object) -> bytes:
    return orjson.dumps(make_document(**changes))


def test_an_event_decodes_to_its_type_with_utc_time() -> None:
    event = decode(make_bytes(time="1993-07-05T12:12:00.25+02:00"))
    assert isinstance(event, TransactionPosted)
    assert event.time == datetime(1993, 7, 5, 10, 12, 0, 250_000, tzinfo=UTC)
    assert event.time.utcoffset() == UTC.utcoffset(None)
    assert event.time_ms == 741_867_120_250


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data_amount": True}, "data.amount"),
        ({"data_amount": 1.0}, "data.amount"),
        ({"data_amount": "380000"}, "data.amount"),
        ({"data_amount": -1}, "data.amount"),
        ({"data_amount": 10**15 + 1}, "data.amount"),
        ({"data_currency": "czk"}, "data.currency"),
        ({"data_currency": "CZK\n"}, "data.currency"),
        ({"data_kind": "teleport"}, "data.kind"),
        ({"data_direction": None}, "data.direction"),
        ({"data_merchant": "x"}, "data.merchant"),
        ({"data_own_account": 1}, "data.own_account"),
        ({"data_counterparty": "x" * 257}, "data.counterparty"),
        ({"data_category": "Two Words"}, "data.category"),
        ({"subject": "retail:"}, "subject"),
        ({"subject": "retail:1787\n"}, "subject"),
        ({"subject": "person:1"}, "subject"),
        ({"subject": "retail:" + "9" * 65}, "subject"),
        ({"id": ""}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"time": "1993-07-05T10:12:00"}, "time"),
        ({"time": "1993-07-05"}, "time"),
        ({"time": 741_867_120}, "time"),
        ({"time": "741867120"}, "time"),
        ({"time": "1993-07-05T25:12:00Z"}, "time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time"),
        ({"time": "9999-12-31T23:59:59-14:00"}, "time"),
        ({"specversion": "0.3"}, "specversion"),
        ({"datacontenttype": "text/xml"}, "datacontenttype"),
        ({"dataschema": "https://bank.example/other"}, "dataschema"),
        ({"dataschema": "x/bank.profile.updated/1"}, "dataschema"),
        ({"data": []}, "data"),
        ({"data": None}, "data"),
    ],
)
def test_a_field_out_of_bounds_is_refused_by_its_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(MalformedEvent) as refusal:
        decode(make_bytes(**changes))
    assert refusal.value.reason == "malformed"
    assert field in str(refusal.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    for body in (make_bytes(), attributes_bytes()):
        text = body.replace(b"380000", number.encode()).replace(b"712.5", number.encode())
        with pytest.raises(MalformedEvent):
            decode(text)


def attributes_bytes() -> bytes:
    return make_bytes(
        type="bank.profile.updated",
        dataschema="x/bank.profile.updated/1",
        data={"attributes": {"credit_score": 712.5}},
    )


def test_attribute_values_keep_their_types() -> None:
    values = {"vip": True, "age": 41, "score": 41.0, "city": "41", "small": -(2**63)}
    event = decode(
        make_bytes(type="bank.profile.updated", dataschema="x/bank.profile.updated/1", data={"attributes": values})
    )
    assert event.type == "bank.profile.updated"
    assert {name: (type(value), value) for name, value in event.data.attributes.items()} == {
        name: (type(value), value) for name, value in values.items()
    }


@pytest.mark.parametrize("secret", ["Zhang San", "6222021234567890", "13800138000"])
def test_a_refusal_never_repeats_a_value(secret: str) -> None:
    for changes in ({"data_amount": secret}, {"data_kind": secret}, {"type": secret}, {"subject": secret}):
        with pytest.raises(DecodeError) as refusal:
            decode(make_bytes(**changes))
        assert secret not in str(refusal.value)


def test_many_problems_are_counted_not_all_listed() -> None:
    with pytest.raises(MalformedEvent, match="and 3 more"):
        decode(make_bytes(data={f"unknown_{number}": 1 for number in range(3)}))


def test_an_unknown_type_is_told_apart_from_a_malformed_event() -> None:
    with pytest.raises(UnknownEventType) as refusal:
        decode(make_bytes(type="bank.transaction.reversed"))
    assert refusal.value.reason == "unknown_type"
    for body in (b"", b"[]", b"null", b'{"type": 3}', b"{", b"\xff\xfe", b'{"id":"\\ud800"}'):
        with pytest.raises(MalformedEvent):
            decode(body)


@pytest.mark.parametrize("version", ["2", "9999"])
def test_a_newer_version_is_refused_not_misread(version: str) -> None:
    with pytest.raises(UnknownEventType, match="version"):
        decode(make_bytes(dataschema=f"x/bank.transaction.posted/{version}"))


def test_without_a_dataschema_the_newest_version_is_assumed_and_written() -> None:
    event = decode(make_bytes(dataschema=None))
    assert orjson.loads(encode(event))["dataschema"].endswith("/bank.transaction.posted/1")


@pytest.mark.parametrize(
    "changes",
    [
        {"data_amount": 12.5},
        {"data_amount": "12.345"},
        {"data_amount": "1e400"},
        {"data_amount": "NaN"},
        {"data_amount": "Infinity"},
        {"data_amount": "1e9999999999"},
        {"data_amount": "twelve"},
        {"data_amount": "9" * 30},
        {"data_type": "X"},
        {"data_type": ["C"]},
        {"data": []},
    ],
)
def test_old_data_that_does_not_fit_its_own_version_is_malformed(changes: dict[str, object]) -> None:
    document = make_document(dataschema="x/bank.transaction.posted/0", data_direction=None)
    document["data"] |= {"type": "D", "amount": "12.34"}
    assert decode(orjson.dumps(document)).model_dump()["data"]["amount"] == 1234
    for name, value in changes.items():
        if name == "data":
            document["data"] = value
        else:
            document["data"][name[5:]] = value
    with pytest.raises(MalformedEvent, match="data"):
        decode(orjson.dumps(document))


def test_the_size_limits_differ_for_the_bank_and_for_our_own_records() -> None:
    padding = " " * (MAX_EVENT_BYTES + 1)
    with pytest.raises(EventTooLarge) as refusal:
        decode(make_bytes() + padding.encode())
    assert refusal.value.reason == "too_large"
    started = make_bytes(
        type="nbo.control.node.started",
        dataschema=None,
        subject="node:api-0",
        data={"node": "api-0", "role": "api"},
    )
    assert decode(started + padding.encode()).type == "nbo.control.node.started"
    with pytest.raises(EventTooLarge):
        decode(started + b" " * MAX_RECORD_BYTES)


def binary_headers(**changes: bytes) -> list[tuple[str, bytes]]:
    document = make_document()
    headers = {f"ce_{name}": str(value).encode() for name, value in document.items() if name != "data"}
    return [*(headers | changes).items(), ("content-type", b"application/json")]


def test_binary_mode_reads_the_same_event() -> None:
    body = orjson.dumps(make_document()["data"])
    assert decode(body, binary_headers()) == decode(make_bytes())


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{}, "id": "forged"', binary_headers()),
        (b"{", binary_headers()),
        (b"NaN", binary_headers()),
        (orjson.dumps(make_document()["data"]), binary_headers(ce_id=b"\xff")),
        (orjson.dumps(make_document()["data"]), binary_headers(ce_data=b"x", ce_time=b"yesterday")),
    ],
)
def test_broken_binary_mode_is_malformed(body: bytes, headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(MalformedEvent):
        decode(body, headers)


def test_deep_nesting_and_huge_numbers_end_in_a_refusal() -> None:
    for body in (
        b'{"data":' + b"[" * 60_000,
        b'{"type":"bank.transaction.posted","dataschema":"x/bank.transaction.posted/0","data":{"amount":'
        + b"1" * 5_000
        + b"}}",
    ):
        with pytest.raises(DecodeError):
            decode(body)


def test_events_cannot_be_changed() -> None:
    event = decode(make_bytes())
    with pytest.raises(ValueError, match="frozen"):
        event.id = "other"


@pytest.mark.parametrize("moment", ["1993-07-05T10:12:00Z", datetime(1993, 7, 5, 10, 12, tzinfo=UTC)])
def test_the_unchecked_way_out_writes_what_decodes(moment: str | datetime) -> None:
    data = make_document()["data"]
    header = {"id": "t-1", "source": "core-banking", "subject": "retail:1787", "time": moment}
    assert decode(encode_trusted("bank.transaction.posted", header, data)) == TransactionPosted(
        id="t-1",
        source="core-banking",
        subject="retail:1787",
        time=datetime(1993, 7, 5, 10, 12, tzinfo=UTC),
        dataschema="https://schemas.kairos.example/events/bank.transaction.posted/1",
        data=Transaction(account_id="1787", direction="credit", amount=380_000, currency="CZK", kind="salary"),
    )


@pytest.mark.parametrize("milliseconds", [0, 1, 741_867_120_250, 1_795_000_000_999, -1, -86_400_001])
def test_milliseconds_and_moments_are_exact_inverses(milliseconds: int) -> None:
    assert epoch_ms(from_epoch_ms(milliseconds)) == milliseconds
