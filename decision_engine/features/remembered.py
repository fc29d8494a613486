"""First and last values that have no place among the numbers: texts, and those of windows, as small JSON.

A whole-life text is `slot -> [time, text]`. Where windows are read, each bucket keeps its first and its last value, so
that the window can move on: `stream -> bucket -> [first time, first value, last time, last value]`.
"""

import json
from dataclasses import dataclass, field

from decision_engine.errors import DAMAGE, StateUnreadable
from decision_engine.features.definitions import Value

_DECODE = json.JSONDecoder().raw_decode
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Edges = tuple[int, Value, int, Value]


@dataclass(slots=True)
class Remembered:
    """Texts by slot number; edges by stream number and bucket."""

    texts: dict[int, tuple[int, str]] = field(default_factory=dict)
    edges: dict[int, dict[int, Edges]] = field(default_factory=dict)

    def note_last(self, slot: int, time_ms: int, text: str) -> None:
        """The later text wins; of equally late ones the larger."""
        known = self.texts.get(slot)
        if known is None or (time_ms, text) > known:
            self.texts[slot] = (time_ms, text)

    def note_first(self, slot: int, time_ms: int, text: str) -> None:
        """The earlier text wins; of equally early ones the smaller."""
        known = self.texts.get(slot)
        if known is None or (time_ms, text) < known:
            self.texts[slot] = (time_ms, text)

    def note_edges(self, stream: int, bucket: int, time_ms: int, value: Value) -> None:
        """Widens a bucket's first and last by one event; ties as for whole-life values."""
        buckets = self.edges.setdefault(stream, {})
        known = buckets.get(bucket)
        if known is None:
            buckets[bucket] = (time_ms, value, time_ms, value)
        elif type(known[1]) is type(value):
            first = min((known[0], known[1]), (time_ms, value))
            last = max((known[2], known[3]), (time_ms, value))
            buckets[bucket] = (*first, *last)

    def prune_edges(self, stream: int, oldest: int) -> None:
        """Drops buckets before the oldest one a window can still reach."""
        buckets = self.edges[stream]
        for bucket in [bucket for bucket in buckets if bucket < oldest]:
            del buckets[bucket]

    def first_in(self, stream: int, oldest: int, newest: int) -> Value | None:
        """The first value among the buckets, both ends included."""
        inside = [bucket for bucket in self.edges.get(stream, ()) if oldest <= bucket <= newest]
        return self.edges[stream][min(inside)][1] if inside else None

    def last_in(self, stream: int, oldest: int, newest: int) -> Value | None:
        """The last value among the buckets, both ends included."""
        inside = [bucket for bucket in self.edges.get(stream, ()) if oldest <= bucket <= newest]
        return self.edges[stream][max(inside)][3] if inside else None


def read_remembered(document: bytes) -> Remembered:
    """The values as stored. Raises StateUnreadable."""
    if not document:
        return Remembered()
    try:
        return _remembered(document)
    except DAMAGE as cause:
        raise StateUnreadable("what the stored state remembers is damaged") from cause


def _remembered(document: bytes) -> Remembered:
    stored, _ = _DECODE(document.decode("utf-8", "surrogatepass"))
    return Remembered(
        {int(slot): (time_ms, text) for slot, (time_ms, text) in stored["t"].items()},
        {
            int(stream): {int(bucket): tuple(edges) for bucket, edges in buckets.items()}
            for stream, buckets in stored["e"].items()
        },
    )


def write_remembered(remembered: Remembered) -> bytes:
    """The values as stored, keys sorted, so equal values are equal bytes."""
    if not remembered.texts and not remembered.edges:
        return b""
    stored = {
        "t": dict(sorted(remembered.texts.items())),
        "e": {stream: dict(sorted(buckets.items())) for stream, buckets in sorted(remembered.edges.items())},
    }
    return _ENCODE(stored).encode("utf-8", "surrogatepass")
