"""What the fold takes: one event about one customer, stripped of its wire form."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from decision_engine.features.definitions import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One event. `event_key` is the 64-bit key of `<source>/<id>`, `source` the event type, `time_ms` the event time.

    `fields` holds the scalar fields of the event's data, missing ones absent: what filters and aggregates may name.
    `attributes` holds the profile attributes of a profile update.
    """

    event_key: int
    source: str
    time_ms: int
    fields: Mapping[str, Value] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PositionedUpdate:
    """An update and where it stood in the log: the index of its topic among the state topics, and its offset."""

    topic: int
    offset: int
    update: Update
