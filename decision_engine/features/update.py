"""What the fold takes: one event about one customer, stripped of its wire form.

Named tuples, because a state builder makes hundreds of thousands of them a second.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from decision_engine.features.definitions import Value

_NOTHING: Mapping[str, Value] = MappingProxyType({})


class Update(NamedTuple):
    """One event. `event_key` is the 64-bit key of `<source>/<id>`, `source` the event type, `time_ms` the event time.

    `fields` holds the scalar fields of the event's data, missing ones absent: what filters and aggregates may name.
    `attributes` holds the profile attributes of a profile update.
    """

    event_key: int
    source: str
    time_ms: int
    fields: Mapping[str, Value] = _NOTHING
    attributes: Mapping[str, Value] = _NOTHING


class PositionedUpdate(NamedTuple):
    """An update and where it stood in the log: the index of its topic among the state topics, and its offset."""

    topic: int
    offset: int
    update: Update
