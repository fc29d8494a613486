"""Events as the previous release wrote them, byte for byte: read by this one without anything being lost.

`tests/golden/events/previous_release.jsonl` holds one line an event, what the previous release's `encode` made of each
of its samples. After a release, it is written anew by the release that is then the previous one.
"""

from pathlib import Path
from typing import Any

import orjson
import pytest

from event_schemas.catalogue import VERSIONS
from event_schemas.codec import EVENT_TYPES, MalformedEvent, UnknownEventType, decode, encode

LINES = (Path(__file__).parents[2] / "golden" / "events" / "previous_release.jsonl").read_bytes().splitlines()
NEW_TYPES = {"nbo.control.data.exported", "nbo.erasure.begun", "nbo.erasure.performed"}
"""Those the previous release did not know yet."""
CLOSED_WORDS = {
    "bank.transaction.posted": "direction", "bank.channel.login": "method", "bank.business.signal": "grade",
}  # fmt: skip
"""A field with a closed list of words of some types."""


def kind(line: bytes) -> str:
    return str(orjson.loads(line)["type"])


def changed(line: bytes, **data: Any) -> bytes:
    document = orjson.loads(line)
    return orjson.dumps({**document, "data": {**document["data"], **data}})


def holds(after: Any, before: Any) -> bool:
    """Whether everything that stood there before still does; fields this release has added may stand beside it."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(name in after and holds(after[name], before[name]) for name in before)
    if isinstance(before, list):
        return isinstance(after, list) and len(after) == len(before) and all(map(holds, after, before))
    return bool(after == before)


def test_there_is_an_event_of_every_type_that_the_previous_release_knew() -> None:
    assert {kind(line) for line in LINES} == set(EVENT_TYPES) - NEW_TYPES


@pytest.mark.parametrize("line", LINES, ids=kind)
def test_what_the_previous_release_wrote_is_read_whole(line: bytes) -> None:
    """Every field it wrote is there after reading and writing again, with its value."""
    before, after = orjson.loads(line), orjson.loads(encode(decode(line)))
    assert before["dataschema"].endswith(f"/{kind(line)}/{VERSIONS[kind(line)]}")
    assert holds(after, before)


@pytest.mark.parametrize("line", LINES, ids=kind)
def test_a_field_that_was_optional_may_be_absent(line: bytes) -> None:
    """One after the other is left out; what reads without it is read as the same event otherwise."""
    document = orjson.loads(line)
    for name in document["data"]:
        without = {**document, "data": {key: value for key, value in document["data"].items() if key != name}}
        try:
            event = decode(orjson.dumps(without))
        except MalformedEvent as refused:
            assert f"data.{name}" in str(refused), "only a field that must be there is missed"
        else:
            assert holds(orjson.loads(encode(event)), without)


@pytest.mark.parametrize("line", [line for line in LINES if kind(line).startswith("nbo.")], ids=kind)
def test_a_field_of_a_newer_release_is_passed_over_in_events_of_our_own(line: bytes) -> None:
    """So that nodes of two releases can read each other, whichever of them is the newer."""
    assert decode(changed(line, written_by_a_newer_release={"x": [1]})) == decode(line)


@pytest.mark.parametrize("line", [line for line in LINES if kind(line).startswith("bank.")], ids=kind)
def test_a_field_nobody_knows_in_an_event_of_the_banks_is_refused_by_name(line: bytes) -> None:
    """It may be a misspelt one: what it says must not be dropped in silence."""
    with pytest.raises(MalformedEvent, match="written_by_a_newer_release"):
        decode(changed(line, written_by_a_newer_release=1))


@pytest.mark.parametrize("line", [line for line in LINES if kind(line) in CLOSED_WORDS], ids=kind)
def test_a_word_of_a_newer_release_is_refused_by_the_fields_name_and_not_misread(line: bytes) -> None:
    """It goes to the dead letters, with the place it came from, until those who read it know the word."""
    name = CLOSED_WORDS[kind(line)]
    with pytest.raises(MalformedEvent, match=f"data.{name}"):
        decode(changed(line, **{name: "a_word_of_tomorrow"}))


def test_a_version_of_a_newer_release_is_refused_as_unknown() -> None:
    for line in LINES:
        document = orjson.loads(line)
        head, _, number = document["dataschema"].rpartition("/")
        newer = {**document, "dataschema": f"{head}/{int(number) + 1}"}
        with pytest.raises(UnknownEventType):
            decode(orjson.dumps(newer))
