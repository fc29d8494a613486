"""What lies behind an attribute in a state: how many rows and events, and when it was last moved."""

from collections.abc import Iterable
from dataclasses import dataclass

from decision_engine.features.calendar_units import Now
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Aggregate, FeatureDefinition, Window
from decision_engine.features.dictionary import PRODUCT_COUNT
from decision_engine.features.layout import LIFE, Stream, StreamKind, slot_of, stream_of, streams_of
from decision_engine.features.record import Record, read_record
from decision_engine.features.remembered import read_remembered
from decision_engine.features.shapes import OF_PRODUCTS, SEQUENCES
from decision_engine.features.slot_kinds import SlotKind
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, STREAM_SHIFT, State
from decision_engine.features.tallies import read_tallies
from decision_engine.features.tally_layout import fact_of, is_tallied, moment_streams, tally_streams
from decision_engine.features.tally_readings import TallyView


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """`rows` are what the state keeps for it: day rows, values, accounts or moments. `newest_ms` is the time of the
    newest event where the state knows it to the millisecond; elsewhere `newest_bucket` and `bucket_unit` say in which
    hour, day, week or month since the epoch it lies."""

    rows: int = 0
    events: int | None = None
    newest_ms: int | None = None
    newest_bucket: int | None = None
    bucket_unit: str | None = None


NOTHING_BEHIND = Evidence()


def profile_evidence(features: CompiledFeatures, state: State, name: str) -> Evidence:
    """Of a profile attribute the time of its value, of the number of products that of the newest opening or closing."""
    record = read_record(state.record, features.stored.profile)
    if name == PRODUCT_COUNT:
        return _of_products(record, frozenset())
    known = record.profile.get(name)
    return NOTHING_BEHIND if known is None else Evidence(rows=1, events=None, newest_ms=known[0])


def feature_evidence(
    features: CompiledFeatures, state: State, now: Now, feature: FeatureDefinition, window: Window | None
) -> Evidence:
    """Of a feature, within the window if it has one."""
    if feature.aggregate in OF_PRODUCTS:
        return _of_products(read_record(state.record, features.stored.profile), frozenset(feature.products))
    if feature.aggregate in SEQUENCES:
        return _of_moments(features, state, now, feature)
    if window is None:
        return _of_whole_life(features, state, feature)
    if is_tallied(feature, window.unit):
        return _of_tallies(features, state, now, feature, window)
    stream = stream_of(feature, window.unit)
    match stream.kind:
        case StreamKind.TOTALS:
            return _of_rows(features, state, now, feature, window)
        case StreamKind.DISTINCT:
            return _of_values(features, state, now, stream, window)
        case _:
            return _of_edges(features, state, now, stream, window)


def _of_products(record: Record, products: frozenset[str]) -> Evidence:
    times = [
        time
        for product, accounts in record.holdings.items()
        if not products or product in products
        for opened_and_closed in accounts.values()
        for time in opened_and_closed
        if time
    ]
    return Evidence(rows=len(times), events=len(times), newest_ms=max(times, default=None))


def _of_moments(features: CompiledFeatures, state: State, now: Now, feature: FeatureDefinition) -> Evidence:
    view, layout = TallyView(read_tallies(state.tallies), now), features.stored.tallies
    times = [at for kind in set(moment_streams(feature)) for at, _ in view.moments(layout.numbers[kind])]
    known = [at for at in times if at <= now.time_ms]
    return Evidence(rows=len(known), events=len(known), newest_ms=max(known, default=None))


def _of_tallies(
    features: CompiledFeatures, state: State, now: Now, feature: FeatureDefinition, window: Window
) -> Evidence:
    view, layout = TallyView(read_tallies(state.tallies), now), features.stored.tallies
    whole = tally_streams(feature, window.unit)
    streams = whole if feature.values else whole[:1]
    rows = [row for stream in streams for row in view.rows(layout.numbers[stream], window.unit, window.length)]
    latest = now.bucket(window.unit)
    return _in_buckets(((latest - age, count) for _, age, count, _ in rows), window.unit)


def _of_rows(
    features: CompiledFeatures, state: State, now: Now, feature: FeatureDefinition, window: Window
) -> Evidence:
    streams = streams_of(feature, window.unit)
    wanted = set(streams if feature.values else streams[:1])
    mask = sum(1 << number for number, stream in enumerate(features.stored.streams) if stream in wanted)
    width, table = features.signature_width, state.signatures
    counted = {
        number
        for number in range(len(table) // width)
        if int.from_bytes(table[number * width : (number + 1) * width], "little") & mask
    }
    latest = now.bucket(window.unit)
    rows = [
        (key & BUCKET_MASK, count)
        for key, count in zip(state.keys, state.counts, strict=True)
        if key >> BUCKET_BITS in counted and 0 <= latest - (key & BUCKET_MASK) < window.length
    ]
    return _in_buckets(rows, window.unit)


def _of_values(features: CompiledFeatures, state: State, now: Now, stream: Stream, window: Window) -> Evidence:
    number, latest = features.stored.distinct.index(stream), now.bucket(window.unit)
    buckets = [
        entry & BUCKET_MASK
        for entry in state.distinct
        if entry >> STREAM_SHIFT == number and 0 <= latest - (entry & BUCKET_MASK) < window.length
    ]
    newest = max(buckets, default=None)
    unit = None if newest is None else window.unit
    return Evidence(rows=len(buckets), newest_bucket=newest, bucket_unit=unit)


def _of_edges(features: CompiledFeatures, state: State, now: Now, stream: Stream, window: Window) -> Evidence:
    number, latest = features.stored.edges.index(stream), now.bucket(window.unit)
    buckets = read_remembered(state.remembered).edges.get(number, {})
    inside = [edges for bucket, edges in buckets.items() if 0 <= latest - bucket < window.length]
    return Evidence(rows=len(inside), newest_ms=max((edges[2] for edges in inside), default=None))


def _in_buckets(rows: Iterable[tuple[int, int]], unit: str) -> Evidence:
    found = list(rows)
    if not found:
        return Evidence(events=0)
    return Evidence(
        rows=len(found),
        events=sum(count for _, count in found),
        newest_bucket=max(bucket for bucket, _ in found),
        bucket_unit=unit,
    )


def _of_whole_life(features: CompiledFeatures, state: State, feature: FeatureDefinition) -> Evidence:
    if feature.per is not None:
        return _of_facts(features, state, feature)
    if feature.aggregate is Aggregate.DISTINCT:
        number = features.stored.distinct.index(stream_of(feature, LIFE))
        return Evidence(rows=sum(entry >> STREAM_SHIFT == number for entry in state.distinct))
    slot = slot_of(feature)
    number = features.stored.slots.index(slot)
    text = read_remembered(state.remembered).texts.get(number)
    if text is not None:
        return Evidence(rows=1, newest_ms=text[0])
    if number not in state.slots:
        return NOTHING_BEHIND
    at = state.slots.index(number)
    return _of_fact(slot.kind, [(state.first[at], state.second[at])])


def _of_facts(features: CompiledFeatures, state: State, feature: FeatureDefinition) -> Evidence:
    fact, layout = fact_of(feature), features.stored.tallies
    view = TallyView(read_tallies(state.tallies), Now(0, 0))
    return _of_fact(fact.kind, [(first, second) for _, first, second in view.facts(layout.numbers[fact])])


def _of_fact(kind: SlotKind, facts: list[tuple[int, int]]) -> Evidence:
    """What the two numbers of a whole-life fact tell about events and times."""
    if not facts:
        return NOTHING_BEHIND
    match kind:
        case SlotKind.TOTALS:
            return Evidence(rows=len(facts), events=sum(count for count, _ in facts))
        case SlotKind.SPAN:
            return Evidence(rows=len(facts), newest_ms=max(last for _, last in facts))
        case SlotKind.LAST | SlotKind.FIRST:
            return Evidence(rows=len(facts), newest_ms=max(time for time, _ in facts))
        case _:
            return Evidence(rows=len(facts))
