"""The AsyncAPI 3 document: topics as channels, event types as messages, who sends and who receives."""

from event_schemas.catalogue import EVENT_TYPES
from event_schemas.json_schema import event_schema
from event_schemas.topics import ALL_TOPICS, DEAD_LETTERS, STATE_TOPICS, TopicSpec, topic_for

VERSION = "1.0.0"
_OWN_PREFIX = "nbo."

_DEAD_LETTER: dict[str, object] = {
    "name": "dead-letter",
    "title": "A record that could not be read",
    "contentType": "application/octet-stream",
    "summary": "The original bytes under the original key; headers say why and where it came from.",
    "headers": {
        "type": "object",
        "properties": {
            "reason": {"type": "string"},
            "message": {"type": "string"},
            "topic": {"type": "string"},
            "partition": {"type": "string"},
            "offset": {"type": "string"},
        },
    },
    "payload": {},
}


def asyncapi_document() -> dict[str, object]:
    """The whole bus as one self-contained AsyncAPI 3.0 document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Kairos events",
            "version": VERSION,
            "description": "CloudEvents 1.0 in structured JSON; the record key is the event's subject.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel_id(topic): _channel(topic) for topic in ALL_TOPICS},
        "operations": {name: body for topic in ALL_TOPICS for name, body in _operations(topic)},
        "components": {"messages": {**{name: _message(name) for name in EVENT_TYPES}, "dead-letter": _DEAD_LETTER}},
    }


def _channel_id(topic: TopicSpec) -> str:
    return topic.name.replace(".", "_").replace("-", "_")


def _message_names(topic: TopicSpec) -> list[str]:
    if topic.name == DEAD_LETTERS:
        return ["dead-letter"]
    return [name for name in EVENT_TYPES if topic_for(name) == topic.name]


def _channel(topic: TopicSpec) -> dict[str, object]:
    return {
        "address": topic.name,
        "description": topic.carries,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(topic)},
        "bindings": {
            "kafka": {
                "topicConfiguration": {
                    "cleanup.policy": ["compact"] if topic.compacted else ["delete"],
                    "retention.ms": -1 if topic.retention_ms is None else topic.retention_ms,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(event_type: str) -> dict[str, object]:
    return {
        "name": event_type,
        "title": EVENT_TYPES[event_type].__name__,
        "summary": (EVENT_TYPES[event_type].__doc__ or "").strip(),
        "contentType": "application/json",
        "bindings": {"kafka": {"key": {"type": "string", "description": "the subject"}, "bindingVersion": "0.5.0"}},
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": event_schema(event_type),
        },
    }


def _operations(topic: TopicSpec) -> list[tuple[str, dict[str, object]]]:
    """We receive what the bank sends, send what is ours, and receive those of ours that feed state or control."""
    channel = {"$ref": f"#/channels/{_channel_id(topic)}"}
    ours = topic.name.startswith(_OWN_PREFIX)
    found: list[tuple[str, dict[str, object]]] = []
    if ours:
        found.append((f"send_{_channel_id(topic)}", {"action": "send", "channel": channel}))
    if not ours or topic.name in STATE_TOPICS or topic.compacted:
        found.append((f"receive_{_channel_id(topic)}", {"action": "receive", "channel": channel}))
    return found
