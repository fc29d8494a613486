"""What an event does to a state, worked out once for every combination of filters it passes and fields it has.

Most events of a customer repeat a few combinations, so after warming up a fold looks its work up instead of
deriving it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.filters import EventFilters, compile_filters
from decision_engine.features.layout import LIFE, Layout, Slot, Stream, StreamKind
from decision_engine.features.slot_kinds import SlotKind
from decision_engine.features.tally_effects import (
    Passed,
    TallyEffect,
    filters_and_fields,
    has_windows,
    sources_of,
    tally_effect,
)
from decision_engine.features.tally_layout import HOUR_OF_DAY, WEEKDAY

EXACT_LIMIT = 1 << 53
"""Whole numbers beyond this are not summed: no amount of money is that large, and sums stay within 64 bits."""
MAX_EFFECTS = 4096
"""Combinations kept per event type before starting over; real traffic shows a few dozen."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of totals: `signature` holds a bit for every stream it counts for, `singles` the same streams one by
    one. `keep` is how many units the longest of their windows reaches back; `extremes` whether any of them is asked
    for its smallest or largest value."""

    hourly: bool
    field: str
    signature: bytes
    singles: tuple[bytes, ...]
    keep: int
    extremes: bool


@dataclass(frozen=True, slots=True)
class Numbered:
    """A distinct or edges stream by its number; `unit` may be `life`."""

    number: int
    unit: str
    field: str
    keep: int


@dataclass(frozen=True, slots=True)
class NumberedSlot:
    """A slot by its number."""

    number: int
    kind: SlotKind
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Everything one event changes beside profile, consents and holdings."""

    totals: tuple[Row, ...]
    distinct: tuple[Numbered, ...]
    edges: tuple[Numbered, ...]
    slots: tuple[NumberedSlot, ...]
    seen: tuple[Numbered, ...]
    """Distinct values of the whole life: never late."""
    tallies: TallyEffect | None = None
    """What it changes beside day and hour rows."""


@dataclass(frozen=True, slots=True)
class EventPlan:
    """How events of one type are folded."""

    wheres: tuple[str, ...]
    filters: EventFilters
    fields: tuple[tuple[str, int, int], ...]
    """Field, the bit that says it is there, the bit that says it is a whole number that can be summed."""
    windowed: bool
    layout: Layout
    source: str
    effects: dict[tuple[int, int], Effect] = field(default_factory=dict)

    def effect(self, values: Mapping[str, Value], time_ms: int) -> Effect:
        """What an event with these fields changes."""
        mask = self.filters(values, time_ms)
        present = 0
        for name, there, summable in self.fields:
            value = values.get(name)
            if value is not None:
                present |= there
                if type(value) is int and -EXACT_LIMIT <= value <= EXACT_LIMIT:
                    present |= summable
        known = self.effects.get((mask, present))
        if known is None:
            if len(self.effects) >= MAX_EFFECTS:
                self.effects.clear()
            known = self.effects[mask, present] = self._derive(mask, present)
        return known

    def _derive(self, mask: int, present: int) -> Effect:
        passed = {where for bit, where in enumerate(self.wheres) if mask >> bit & 1}
        there = {name for name, bit, _ in self.fields if present & bit} | {""}
        summable = {name for name, _, bit in self.fields if present & bit} | {""}

        def hit(member: Stream | Slot) -> bool:
            numeric = member.kind in _NUMERIC
            return (
                member.source == self.source
                and member.where in passed
                and member.field in (summable if numeric else there)
            )

        streams = [(number, stream) for number, stream in enumerate(self.layout.streams) if hit(stream)]
        distinct = _numbered(self.layout, ((n, s) for n, s in enumerate(self.layout.distinct) if hit(s)))
        return Effect(
            totals=_rows(self.layout, streams),
            distinct=tuple(entry for entry in distinct if entry.unit != LIFE),
            seen=tuple(entry for entry in distinct if entry.unit == LIFE),
            edges=_numbered(self.layout, ((n, s) for n, s in enumerate(self.layout.edges) if hit(s))),
            slots=tuple(NumberedSlot(n, s.kind, s.field) for n, s in enumerate(self.layout.slots) if hit(s)),
            tallies=tally_effect(
                self.layout.tallies, Passed(source=self.source, filters=passed, there=there, summable=summable)
            ),
        )


_NUMERIC = frozenset({StreamKind.TOTALS, SlotKind.TOTALS, SlotKind.EXTREMES})


def plan_events(layout: Layout, event_fields: Mapping[str, Mapping[str, AttributeType]] | None) -> dict[str, EventPlan]:
    """A plan for every event type that some feature looks at. Raises DecisionEngineError for unusable filters."""
    members: tuple[Stream | Slot, ...] = (*layout.streams, *layout.distinct, *layout.edges, *layout.slots)
    return {
        source: _plan(layout, source, [member for member in members if member.source == source], event_fields)
        for source in sorted({member.source for member in members} | sources_of(layout.tallies))
    }


def _plan(
    layout: Layout,
    source: str,
    members: list[Stream | Slot],
    event_fields: Mapping[str, Mapping[str, AttributeType]] | None,
) -> EventPlan:
    tallied = list(filters_and_fields(layout.tallies, source))
    filters = {member.where for member in members} | {where for where, _ in tallied}
    fields = {member.field for member in members} | {name for _, named in tallied for name in named}
    wheres = tuple(sorted(filters, key=lambda where: (not where, where)))
    names = sorted(fields - {"", HOUR_OF_DAY, WEEKDAY})
    return EventPlan(
        wheres=wheres,
        filters=compile_filters(wheres, None if event_fields is None else event_fields.get(source, {})),
        fields=tuple((name, 1 << 2 * number, 2 << 2 * number) for number, name in enumerate(names)),
        windowed=has_windows(layout.tallies, source)
        or any(isinstance(member, Stream) and member.unit != LIFE for member in members),
        layout=layout,
        source=source,
    )


def signature_width(layout: Layout) -> int:
    """Bytes of a signature, at least one."""
    return max(1, (len(layout.streams) + 7) // 8)


def _rows(layout: Layout, streams: list[tuple[int, Stream]]) -> tuple[Row, ...]:
    """One row for each unit and field; streams that only count ride on the first row of their unit."""
    rows: list[Row] = []
    for unit in ("d", "h"):
        of_unit = [(number, stream) for number, stream in streams if stream.unit == unit]
        fields = sorted({stream.field for _, stream in of_unit}, key=lambda name: (not name, name))
        if len(fields) > 1 and not fields[-1]:
            fields.pop()
        for position, name in enumerate(fields):
            wanted = (name, "") if position == 0 else (name,)
            members = [(number, stream) for number, stream in of_unit if stream.field in wanted]
            rows.append(_row(layout, unit, name, members))
    return tuple(rows)


def _row(layout: Layout, unit: str, field_name: str, members: list[tuple[int, Stream]]) -> Row:
    width = signature_width(layout)
    singles = tuple((1 << number).to_bytes(width, "little") for number, _ in members)
    return Row(
        hourly=unit == "h",
        field=field_name,
        signature=sum(1 << number for number, _ in members).to_bytes(width, "little"),
        singles=singles,
        keep=max(layout.keeps[stream] for _, stream in members),
        extremes=any(stream in layout.extremes for _, stream in members),
    )


def _numbered(layout: Layout, streams: Iterable[tuple[int, Stream]]) -> tuple[Numbered, ...]:
    return tuple(Numbered(number, s.unit, s.field, layout.keeps[s]) for number, s in streams)
