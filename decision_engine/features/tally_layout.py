"""What a state keeps beside day and hour rows: tallies by value and by minute, week or month, facts of the whole life
per account, and the moments that sequences look at."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from decision_engine.features.calendar_units import DAYS, HOURS, days_reached
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition, Window
from decision_engine.features.shapes import EVENTS_ONLY, SEQUENCES, SINCE, TOPS, USUAL, windows_of
from decision_engine.features.slot_kinds import SlotKind

HOUR_OF_DAY, WEEKDAY = "@hour", "@weekday"
"""Stand for a field: what the clock and the calendar of the strategy's time zone said. No field has such a name."""
DAY_MS = 86_400_000


class Combine(StrEnum):
    """What the number of a tally's row is: of its events' values the sum, the smallest or the largest."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True, order=True)
class TallyStream:
    """Events of one type that pass one filter, in buckets of one unit; with `by` for each value of that field."""

    source: str
    where: str
    field: str
    by: str
    unit: str
    combine: Combine


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """A whole-life fact for each value of the field `by`."""

    kind: SlotKind
    source: str
    where: str
    field: str
    by: str


@dataclass(frozen=True, slots=True, order=True)
class MomentStream:
    """The moments of one kind of event, each with a key of the value of the field `same`."""

    source: str
    where: str
    same: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TallyLayout:
    """All of them, sorted: their numbers are their places."""

    streams: tuple[TallyStream, ...] = ()
    reaches: tuple[int, ...] = ()
    """For each stream how many units its longest window reaches back."""
    facts: tuple[Fact, ...] = ()
    moments: tuple[MomentStream, ...] = ()
    moment_days: tuple[int, ...] = ()
    """For each kind of moments how many days back they are kept."""
    numbers: dict[TallyStream | Fact | MomentStream, int] = field(default_factory=dict, compare=False)

    @property
    def days(self) -> int:
        """How many local days back any of it reaches."""
        reached = [days_reached(s.unit, reach) for s, reach in zip(self.streams, self.reaches, strict=True)]
        return max([*reached, *self.moment_days], default=0)

    def lines(self) -> Iterator[str]:
        """What of this determines the stored bytes."""
        for stream, reach in zip(self.streams, self.reaches, strict=True):
            yield (
                f"tally {stream.combine} {stream.source!r} {stream.where!r} {stream.field!r} {stream.by!r} "
                f"{stream.unit} {reach}"
            )
        for fact in self.facts:
            yield f"fact {fact.kind} {fact.source!r} {fact.where!r} {fact.field!r} {fact.by!r}"
        for stream_of_moments, days in zip(self.moments, self.moment_days, strict=True):
            kind = stream_of_moments
            yield f"moments {kind.source!r} {kind.where!r} {kind.same!r} {days}"


def plan_tallies(declarations: FeatureDeclarations) -> TallyLayout:
    """What the declared features need of it."""
    reaches: dict[TallyStream, int] = {}
    facts: set[Fact] = set()
    moments: dict[MomentStream, int] = {}
    for feature in declarations.features:
        for unit, reach in reaches_of(feature):
            if is_tallied(feature, unit):
                for stream in tally_streams(feature, unit):
                    reaches[stream] = max(reaches.get(stream, 0), reach)
        if feature.per is not None and not feature.windows:
            facts.add(fact_of(feature))
        for kind in moment_streams(feature):
            moments[kind] = max(moments.get(kind, 0), _moment_days(feature))
    streams, kinds = tuple(sorted(reaches)), tuple(sorted(moments))
    members: list[Iterable[TallyStream | Fact | MomentStream]] = [streams, sorted(facts), kinds]
    return TallyLayout(
        streams=streams,
        reaches=tuple(reaches[stream] for stream in streams),
        facts=tuple(sorted(facts)),
        moments=kinds,
        moment_days=tuple(moments[kind] for kind in kinds),
        numbers={member: number for group in members for number, member in enumerate(group)},
    )


def reaches_of(feature: FeatureDefinition) -> Iterator[tuple[str, int]]:
    """Unit and how many units back each window looks; a trend looks at the window before it too."""
    factor = 2 if feature.aggregate is Aggregate.TREND else 1
    for window in all_windows(feature):
        yield window.unit, window.length * factor


def all_windows(feature: FeatureDefinition) -> tuple[Window, ...]:
    """Every window, those of pairs one by one."""
    return (*windows_of(feature), *(window for pair in feature.window_pairs for window in pair))


_OUTSIDE_BUCKETS = SEQUENCES | {
    Aggregate.HELD, Aggregate.HELD_CHANGE, Aggregate.HELD_DAYS, Aggregate.DISTINCT, Aggregate.LAST, Aggregate.FIRST,
}  # fmt: skip


def is_tallied(feature: FeatureDefinition, unit: str) -> bool:
    """Whether a feature's windows of that unit are read from tallies, not from day and hour rows."""
    if feature.aggregate in _OUTSIDE_BUCKETS:
        return False
    if feature.per is not None or feature.aggregate in USUAL or (feature.aggregate in TOPS and not feature.values):
        return True
    return unit not in (DAYS, HOURS)


def filters_of(feature: FeatureDefinition) -> tuple[str, ...]:
    """The filters of the streams a feature compares: one, but two for a share (all, then the part), and one for each
    value that competes for the top."""
    where = (feature.where or "").strip()
    if feature.aggregate is Aggregate.SHARE:
        return where, _both(where, feature.part or "")
    if feature.aggregate in TOPS and feature.values:
        return tuple(_both(where, f'{feature.field} == "{_escaped(value)}"') for value in feature.values)
    return (where,)


def summed_field(feature: FeatureDefinition) -> str:
    """The field whose values are added up, empty where events count."""
    if feature.aggregate in TOPS:
        return feature.weigh or ""
    return "" if feature.aggregate in EVENTS_ONLY else feature.field or ""


def grouping_field(feature: FeatureDefinition) -> str:
    """The field for whose values rows are told apart, empty for none."""
    if feature.per is not None:
        return feature.per.field
    if feature.aggregate in USUAL:
        return HOUR_OF_DAY if feature.aggregate is Aggregate.USUAL_HOUR else WEEKDAY
    return (feature.field or "") if feature.aggregate in TOPS and not feature.values else ""


def tally_streams(feature: FeatureDefinition, unit: str) -> tuple[TallyStream, ...]:
    """The tallies that a feature's windows of that unit read, in the order of `filters_of`."""
    combine = {Aggregate.MIN: Combine.MIN, Aggregate.MAX: Combine.MAX}.get(feature.aggregate, Combine.SUM)
    summed, by = summed_field(feature), grouping_field(feature)
    return tuple(TallyStream(feature.source, where, summed, by, unit, combine) for where in filters_of(feature))


def fact_of(feature: FeatureDefinition) -> Fact:
    """The fact that a feature per account reads over the whole life."""
    kinds = {
        Aggregate.COUNT: SlotKind.TOTALS, Aggregate.SUM: SlotKind.TOTALS, Aggregate.MEAN: SlotKind.TOTALS,
        Aggregate.MIN: SlotKind.EXTREMES, Aggregate.MAX: SlotKind.EXTREMES,
        Aggregate.LAST: SlotKind.LAST, Aggregate.FIRST: SlotKind.FIRST,
    }  # fmt: skip
    kind = SlotKind.SPAN if feature.aggregate in SINCE else kinds[feature.aggregate]
    field_name = "" if feature.aggregate in EVENTS_ONLY else feature.field or ""
    return Fact(kind, feature.source, (feature.where or "").strip(), field_name, grouping_field(feature))


def moment_streams(feature: FeatureDefinition) -> tuple[MomentStream, ...]:
    """What a sequence looks at: the moments of the first and of the second kind of event; none for other features."""
    if feature.aggregate not in SEQUENCES or feature.then is None:
        return ()
    then, same = feature.then, feature.then.same or ""
    return (
        MomentStream(feature.source, (feature.where or "").strip(), same),
        MomentStream(then.source, (then.where or "").strip(), same),
    )


def _moment_days(feature: FeatureDefinition) -> int:
    within_ms = feature.then.within_ms if feature.then is not None else 0
    longest = max(window.length for window in feature.windows)
    # One day more than the time itself, for the days on which the clock is put back.
    return longest + -(-within_ms // DAY_MS) + 1


def _both(where: str, part: str) -> str:
    return f"({where}) && ({part})" if where else part


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
