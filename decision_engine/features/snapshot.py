"""A stored state as of a moment: every attribute, ready for conditions and models."""

from array import array
from bisect import bisect_left

from decision_engine.conditions.evaluation import MISSING, Facts
from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Aggregate, Value
from decision_engine.features.dictionary import PRODUCT_COUNT
from decision_engine.features.layout import LIFE
from decision_engine.features.local_days import hour_of
from decision_engine.features.readings import StreamReading
from decision_engine.features.record import view_record
from decision_engine.features.remembered import Remembered, read_remembered
from decision_engine.features.state import BUCKET_MASK, NEVER, STREAM_SHIFT, Sections
from decision_engine.features.windows import Windows


def read_snapshot(features: CompiledFeatures, state: bytes | None, now_ms: int) -> CustomerSnapshot:
    """The customer as of `now_ms` (epoch milliseconds). Windows reach back from there and leave out what lies ahead;
    whole-life features, profile, holdings and consents are the newest known.

    Without a state the customer is unknown. An erased one is unknown too, with every purpose refused.
    Raises StateUnreadable for bytes of another layout.
    """
    if state is None:
        return UNKNOWN_CUSTOMER
    at = Sections(state, features.layout_bytes)
    record = view_record(state[at.record_at : at.remembered_at], features.readings.profile_names)
    newest_event_ms = None if at.newest_ms == NEVER else at.newest_ms
    if at.erased:
        return CustomerSnapshot(known=False, consents=record.consents, newest_event_ms=newest_event_ms)
    attributes = features.readings.defaults.copy()
    attributes.update(record.attributes)
    _read_features(features, state, at, now_ms, attributes)
    attributes.setdefault(PRODUCT_COUNT, len(record.holdings))
    facts = Facts(attributes, record.holdings, now_ms)
    for derived in features.derived:
        result = derived.evaluate(facts)
        if result is not MISSING:
            attributes[derived.name] = result
    return CustomerSnapshot(
        known=True,
        attributes=attributes,
        holdings=record.holdings,
        consents=record.consents,
        newest_event_ms=newest_event_ms,
    )


def _read_features(
    features: CompiledFeatures, state: bytes, at: Sections, now_ms: int, attributes: dict[str, Value]
) -> None:
    plan = features.readings
    day, hour = features.day_of(now_ms), hour_of(now_ms)
    if at.totals:
        Windows(state, at, plan, day, hour).read(attributes)
    if at.distincts:
        column = array("Q", state[at.distinct_at : at.first_at])
        for reading in plan.distinct:
            attributes[reading.name] = _distinct(column, reading, day, hour) or attributes[reading.name]
    remembered = read_remembered(state[at.remembered_at :])
    for reading in plan.edges:
        found = _edge(remembered, reading, day, hour)
        if found is not None:
            attributes[reading.name] = found
    for slot_reading in plan.slots:
        if (text := remembered.texts.get(slot_reading.slot)) is not None:
            attributes[slot_reading.name] = text[1]
    if at.slot_count:
        _read_slots(features, state, at, day, attributes)


def _read_slots(features: CompiledFeatures, state: bytes, at: Sections, day: int, attributes: dict[str, Value]) -> None:
    numbers = array("H", state[at.slots_at : at.tags_at])
    tags = state[at.tags_at : at.signatures_at]
    first, second = array("q", state[at.first_at : at.second_at]), array("q", state[at.second_at : at.sums_at])
    slots = dict(zip(numbers, zip(tags, first, second, strict=True), strict=True))
    for reading in features.readings.slots:
        slot = slots.get(reading.slot)
        if slot is not None:
            attributes[reading.name] = reading.read(*slot, day)


def _distinct(column: "array[int]", reading: StreamReading, day: int, hour: int) -> int:
    newest = hour if reading.unit == "h" else 0 if reading.unit == LIFE else day
    oldest = newest - reading.reach + 1
    start = bisect_left(column, reading.stream << STREAM_SHIFT)
    end = bisect_left(column, (reading.stream + 1) << STREAM_SHIFT, start)
    return sum([oldest <= seen & BUCKET_MASK <= newest for seen in column[start:end]])


def _edge(remembered: Remembered, reading: StreamReading, day: int, hour: int) -> Value | None:
    newest = hour if reading.unit == "h" else day
    read = remembered.first_in if reading.aggregate is Aggregate.FIRST else remembered.last_in
    return read(reading.stream, newest - reading.reach + 1, newest)
