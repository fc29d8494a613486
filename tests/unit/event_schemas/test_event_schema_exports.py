"""The committed exports are up to date, and a change that would refuse yesterday's events is noticed."""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from event_schemas.asyncapi import asyncapi_document
from event_schemas.codec import EVENT_TYPES
from event_schemas.json_schema import breaking_changes, event_schema, export_json_schemas
from event_schemas.topics import ALL_TOPICS, STATE_TOPICS, topic_for
from services.commands import schemas as command

Schema = dict[str, Any]


def test_no_exported_schema_has_been_broken() -> None:
    """If this fails, bump the version of the type and write an upcaster, rather than exporting anew."""
    for name, schema in export_json_schemas().items():
        exported = orjson.loads((command.EXPORTED / name).read_bytes())
        assert breaking_changes(exported, schema) == [], name


def test_the_exports_are_up_to_date() -> None:
    assert command.differing_schemas(command.EXPORTED) == []


def transaction_schema() -> Schema:
    return event_schema("bank.transaction.posted")


def change_data(change: Callable[[Schema], object]) -> Schema:
    schema = copy.deepcopy(transaction_schema())
    change(schema["$defs"]["Transaction"])
    return schema


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda data: data["required"].append("category"), "data.category: is required now"),
        (lambda data: data["properties"].pop("channel"), "data.channel: was removed"),
        (lambda data: data["properties"]["kind"]["enum"].remove("fx"), "data.kind: fx is no longer accepted"),
        (lambda data: data["properties"]["amount"].update(type="string"), "data.amount: type integer became string"),
        (lambda data: data["properties"]["amount"].update(maximum=10), "data.amount: maximum"),
        (lambda data: data["properties"]["amount"].update(minimum=1), "data.amount: minimum"),
        (lambda data: data["properties"]["account_id"].update(maxLength=4), "data.account_id: maxLength"),
        (lambda data: data["properties"]["currency"].update(pattern="^CNY$"), "data.currency: pattern changed"),
        (lambda data: data["properties"]["category"]["anyOf"].pop(), "data.category: null"),
        (lambda data: data["properties"]["balance_after"]["anyOf"][0].update(maximum=1), "data.balance_after: integer"),
    ],
)
def test_a_narrower_schema_is_named_as_breaking(change: Callable[[Schema], object], named: str) -> None:
    problems = breaking_changes(transaction_schema(), change_data(change))
    assert len(problems) == 1
    assert problems[0].startswith(named)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["properties"].update(terminal={"type": "string"}),
        lambda data: data["required"].remove("kind"),
        lambda data: data["properties"]["kind"]["enum"].append("crypto"),
        lambda data: data["properties"]["amount"].update(type="number", maximum=10**16),
        lambda data: data["properties"]["amount"].pop("maximum"),
        lambda data: data["properties"]["account_id"].pop("maxLength"),
        lambda data: data.pop("additionalProperties"),
        lambda data: data.update(description="Other words"),
    ],
)
def test_a_wider_schema_breaks_nothing(change: Callable[[Schema], object]) -> None:
    assert breaking_changes(transaction_schema(), change_data(change)) == []


def test_free_keys_and_closed_objects_are_compared_too() -> None:
    old = {"type": "object", "patternProperties": {"^a$": {"type": "integer", "maximum": 9}}}
    assert breaking_changes(old, old) == []
    narrower = {"type": "object", "patternProperties": {"^a$": {"type": "integer", "maximum": 8}}}
    assert breaking_changes(old, narrower) == ["[]: maximum went from 9 to 8"]
    assert breaking_changes(old, {"type": "object", "patternProperties": {"^b$": {}}}) == [
        "event: the pattern of keys changed"
    ]
    assert breaking_changes({"type": "object"}, {"type": "object", "additionalProperties": False}) == [
        "event: unknown fields are refused now"
    ]
    assert breaking_changes(
        {"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "null"}}
    )


def test_the_command_writes_checks_and_tells_what_would_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["--check", "--directory", str(tmp_path)])) == 1
    assert command.run(parser.parse_args(["--write", "--directory", str(tmp_path)])) == 0
    assert command.run(parser.parse_args(["--check", "--directory", str(tmp_path)])) == 0
    path = tmp_path / "bank.consent.changed.1.json"
    wider = orjson.loads(path.read_bytes())
    wider["$defs"]["Consent"]["properties"]["note"] = {"type": "string"}
    path.write_bytes(orjson.dumps(wider))
    (tmp_path / "bank.gone.1.json").write_bytes(b"{}")
    (tmp_path / "bank.consent.changed.0.json").write_bytes(b"{}")
    capsys.readouterr()
    assert command.run(parser.parse_args(["--check", "--directory", str(tmp_path)])) == 1
    printed = capsys.readouterr().out
    assert "BREAKING data.note: was removed" in printed
    assert "bank.gone.1.json: is no schema of this release" in printed
    assert command.run(parser.parse_args(["--write", "--directory", str(tmp_path)])) == 0
    assert not (tmp_path / "bank.gone.1.json").exists()
    assert (tmp_path / "bank.consent.changed.0.json").exists()


def test_every_event_type_has_a_topic_and_every_message_a_channel() -> None:
    names = {topic.name for topic in ALL_TOPICS}
    assert {topic_for(event_type) for event_type in EVENT_TYPES} == names - {"nbo.dead-letters.v1"}
    assert set(STATE_TOPICS) < names
    with pytest.raises(KeyError):
        topic_for("bank.unheard.of")
    document: Any = asyncapi_document()
    referred = [
        reference["$ref"].rpartition("/")[2]
        for channel in document["channels"].values()
        for reference in channel["messages"].values()
    ]
    assert sorted(referred) == sorted(document["components"]["messages"])
    assert {channel["address"] for channel in document["channels"].values()} == names
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].rpartition("/")[2] in document["channels"]


def test_state_topics_keep_their_slots() -> None:
    """The order is part of the stored state; changing it would misread every customer's positions."""
    assert STATE_TOPICS == (
        "bank.transactions.v1",
        "bank.channel-events.v1",
        "bank.profile-updates.v1",
        "bank.business-signals.v1",
        "nbo.responses.v1",
    )
