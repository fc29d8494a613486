"""Events as they were once written must stay readable, in the newest version."""

from pathlib import Path

import orjson
import pytest

from event_schemas.codec import EVENT_TYPES, decode, encode

SAMPLES = sorted((Path(__file__).parents[2] / "golden" / "events").glob("*.json"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_golden_sample_decodes_and_survives_a_round_trip(sample: Path) -> None:
    event = decode(sample.read_bytes())
    assert event.type == orjson.loads(sample.read_bytes())["type"]
    assert decode(encode(event)) == event


def test_every_event_type_has_a_golden_sample() -> None:
    assert {orjson.loads(path.read_bytes())["type"] for path in SAMPLES} == set(EVENT_TYPES)


@pytest.mark.parametrize("sample", [path for path in SAMPLES if path.stem.endswith(".1")], ids=lambda path: path.stem)
def test_encoding_keeps_every_field_of_a_sample(sample: Path) -> None:
    """What we decode and write again carries the same data, save for fields of a newer release and time formats."""
    before = orjson.loads(sample.read_bytes())
    after = orjson.loads(encode(decode(sample.read_bytes())))
    assert before.keys() - after.keys() <= {"partitionhint"}
    assert before["data"].keys() - after["data"].keys() <= {"written_by_a_newer_release"}


def test_the_version_with_decimal_text_becomes_minor_units() -> None:
    old = next(path for path in SAMPLES if path.stem == "bank.transaction.posted.0")
    event = decode(old.read_bytes())
    assert event.type == "bank.transaction.posted"
    assert (event.data.direction, event.data.amount, event.data.balance_after) == ("credit", 380_000, -1_182_050)
    assert event.dataschema is not None
    assert event.dataschema.endswith("/bank.transaction.posted/1")
