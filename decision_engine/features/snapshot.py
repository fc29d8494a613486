"""A stored state as of a moment: every attribute, ready for conditions and models."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from decision_engine.customer import PERSONALISATION, UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.errors import DAMAGE, StateUnreadable
from decision_engine.features.calendar_units import Now
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Aggregate, Value
from decision_engine.features.dictionary import PRODUCT_COUNT
from decision_engine.features.distinct_values import read_distinct
from decision_engine.features.held_products import read_held
from decision_engine.features.local_days import hour_of
from decision_engine.features.readings import StreamReading
from decision_engine.features.record import RecordMemory, view_record
from decision_engine.features.remembered import Remembered, read_remembered
from decision_engine.features.state import NEVER, Sections
from decision_engine.features.tallies import read_tallies
from decision_engine.features.tally_readings import read_tally_readings
from decision_engine.features.windows import Windows
from decision_engine.features.windows_together import StoredState, read_windows

Unpack = Callable[[bytes, int], tuple[Any, ...]]


def read_snapshot(
    features: CompiledFeatures,
    state: bytes | None,
    now_ms: int,
    memory: RecordMemory | None = None,
    windows: Mapping[str, Value] | None = None,
) -> CustomerSnapshot:
    """The customer as of `now_ms` (epoch milliseconds). Windows reach back from there and leave out what lies ahead;
    whole-life features, profile, holdings and consents are the newest known; what a model inferred is missing of who
    refuses personalisation.

    `memory` is that of this customer, for who reads the same one often; `windows` what `read_windows_of` says, for who
    reads many at once.

    Without a state the customer is unknown. An erased one is unknown too, with every purpose refused.
    Raises StateUnreadable for bytes of another layout and for damaged ones.
    """
    if state is None:
        return UNKNOWN_CUSTOMER
    try:
        return _snapshot(features, state, now_ms, memory, windows)
    except DAMAGE as cause:
        raise StateUnreadable("the stored state is damaged") from cause


def _snapshot(
    features: CompiledFeatures,
    state: bytes,
    now_ms: int,
    memory: RecordMemory | None,
    windows: Mapping[str, Value] | None,
) -> CustomerSnapshot:
    at = Sections(state, features.layout_bytes)
    attributes = features.readings.defaults.copy()
    view = view_record if memory is None else memory.view
    record = view(state[at.record_at : at.remembered_at], features.readings.profile_names, attributes)
    newest_event_ms = None if at.newest_ms == NEVER else at.newest_ms
    if at.erased:
        return CustomerSnapshot(known=False, consents=record.consents, newest_event_ms=newest_event_ms)
    if features.inferred and record.consents.get(PERSONALISATION) is False:
        for name in features.inferred:
            attributes.pop(name, None)
    _read_features(features, state, at, now_ms, attributes, windows)
    if features.readings.held:
        now = Now(now_ms, features.day_of(now_ms))
        read_held(features.readings.held, record.accounts, now, features.day_of, attributes)
    attributes.setdefault(PRODUCT_COUNT, len(record.holdings))
    features.derive(attributes, record.holdings, now_ms)
    return CustomerSnapshot(
        known=True,
        attributes=attributes,
        holdings=record.holdings,
        consents=record.consents,
        newest_event_ms=newest_event_ms,
    )


def read_aggregates(
    features: CompiledFeatures, state: bytes, now_ms: int, windows: Mapping[str, Value] | None = None
) -> dict[str, Value]:
    """Of a state as of `now_ms` what the declared features tell, without profile, products and what is derived; nothing
    of an erased customer. `windows` as of `read_snapshot`. Raises StateUnreadable as that does."""
    at = Sections(state, features.layout_bytes)
    if at.erased:
        return {}
    attributes = features.readings.defaults.copy()
    try:
        _read_features(features, state, at, now_ms, attributes, windows)
    except DAMAGE as cause:
        raise StateUnreadable("the stored state is damaged") from cause
    return attributes


def read_windows_of(features: CompiledFeatures, states: Sequence[tuple[bytes, int]]) -> list[dict[str, Value]]:
    """What the windows of day and hour rows tell of each state at its moment, as the reading of it alone finds it.
    Raises StateUnreadable for bytes of another layout."""
    return read_windows(
        features.readings,
        [
            StoredState(state, Sections(state, features.layout_bytes), features.day_of(now_ms), hour_of(now_ms))
            for state, now_ms in states
        ],
    )


def _read_features(
    features: CompiledFeatures,
    state: bytes,
    at: Sections,
    now_ms: int,
    attributes: dict[str, Value],
    windows: Mapping[str, Value] | None,
) -> None:
    plan = features.readings
    day, hour = features.day_of(now_ms), hour_of(now_ms)
    now = Now(now_ms, day)
    if windows is not None:
        attributes.update(windows)
    elif at.totals:
        Windows(state, at, plan, day, hour).read(attributes)
    if at.distincts:
        read_distinct(plan.distinct, state, at, now, attributes)
    if at.remembered_at < at.tallies_at:
        remembered = read_remembered(state[at.remembered_at : at.tallies_at])
        for reading in plan.edges:
            found = _edge(remembered, reading, now)
            if found is not None:
                attributes[reading.name] = found
        for slot, (_, text) in remembered.texts.items():
            attributes.update({name: text for name, _ in plan.slots[slot]})
    if plan.tallies and at.tallies_at < len(state):
        read_tally_readings(plan.tallies, read_tallies(state[at.tallies_at :]), now, attributes)
    if at.slot_count:
        _read_slots(features, state, at, day, attributes)


def _read_slots(features: CompiledFeatures, state: bytes, at: Sections, day: int, attributes: dict[str, Value]) -> None:
    count, readings = at.slot_count, features.readings.slots
    two_numbers, numbers_and_tags = _slot_columns(count)
    both = two_numbers(state, at.first_at)
    known = numbers_and_tags(state, at.slots_at)
    for number, tag, first, second in zip(known[:count], known[count:], both[:count], both[count:], strict=True):
        for name, read in readings[number]:
            attributes[name] = read(tag, first, second, day)


@lru_cache(maxsize=256)
def _slot_columns(count: int) -> tuple[Unpack, Unpack]:
    """How so many slots are taken from a state: their first and second numbers, their numbers and tags."""
    return Struct(f"<{2 * count}q").unpack_from, Struct(f"<{count}H{count}B").unpack_from


def _edge(remembered: Remembered, reading: StreamReading, now: Now) -> Value | None:
    newest = now.bucket(reading.unit)
    read = remembered.first_in if reading.aggregate is Aggregate.FIRST else remembered.last_in
    return read(reading.stream, newest - reading.reach + 1, newest)
