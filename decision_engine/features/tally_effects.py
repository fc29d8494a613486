"""Which tallies, facts and moments an event of one type touches."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from decision_engine.features.slot_kinds import SlotKind
from decision_engine.features.tally_layout import HOUR_OF_DAY, WEEKDAY, Combine, Fact, TallyLayout


@dataclass(frozen=True, slots=True)
class TallyHit:
    """A row to add to: the stream's number and what it needs to know."""

    number: int
    unit: str
    field: str
    by: str
    keep: int
    combine: Combine


@dataclass(frozen=True, slots=True)
class FactHit:
    """A fact per account to add to."""

    number: int
    kind: SlotKind
    field: str
    by: str


@dataclass(frozen=True, slots=True)
class MomentHit:
    """A moment to remember for so many days."""

    number: int
    same: str
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TallyEffect:
    """Everything one event changes there."""

    rows: tuple[TallyHit, ...]
    facts: tuple[FactHit, ...]
    moments: tuple[MomentHit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What an event passed: the filters, which fields are there, which are whole numbers that can be summed."""

    source: str
    filters: AbstractSet[str]
    there: AbstractSet[str]
    summable: AbstractSet[str]


_NUMERIC = frozenset({SlotKind.TOTALS, SlotKind.EXTREMES, SlotKind.LAST, SlotKind.FIRST})


def tally_effect(layout: TallyLayout, passed: Passed) -> TallyEffect | None:
    """What such an event touches; None for nothing."""
    there = passed.there | {"", HOUR_OF_DAY, WEEKDAY}
    rows = tuple(
        TallyHit(number, s.unit, s.field, s.by, layout.reaches[number], s.combine)
        for number, s in enumerate(layout.streams)
        if s.source == passed.source and s.where in passed.filters and s.field in passed.summable and s.by in there
    )
    facts = tuple(
        FactHit(number, f.kind, f.field, f.by)
        for number, f in enumerate(layout.facts)
        if f.source == passed.source
        and f.where in passed.filters
        and f.by in there
        and f.field in (passed.summable if f.kind in _NUMERIC else there)
    )
    moments = tuple(
        MomentHit(number, m.same, layout.moment_days[number])
        for number, m in enumerate(layout.moments)
        if m.source == passed.source and m.where in passed.filters and m.same in there
    )
    return TallyEffect(rows=rows, facts=facts, moments=moments) if rows or facts or moments else None


def sources_of(layout: TallyLayout) -> frozenset[str]:
    """The event types that touch any of it."""
    return frozenset(member.source for member in layout.numbers)


def filters_and_fields(layout: TallyLayout, source: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each member that events of the type touch its filter and the fields it reads."""
    for stream in layout.streams:
        if stream.source == source:
            yield stream.where, (stream.field, stream.by)
    for fact in layout.facts:
        if fact.source == source:
            yield fact.where, (fact.field, fact.by)
    for kind in layout.moments:
        if kind.source == source:
            yield kind.where, (kind.same,)


def has_windows(layout: TallyLayout, source: str) -> bool:
    """Whether anything of it forgets, so that an event can be too late for it."""
    return any(not isinstance(member, Fact) and member.source == source for member in layout.numbers)
