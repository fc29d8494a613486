"""How fresh a state is, told apart by where its events come from: the bank's own systems, or the answers to offers that
this service records itself."""

from dataclasses import dataclass

from decision_engine.features.calendar_units import HOURS, first_day
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.local_days import HOUR_MS
from decision_engine.features.provenance import day_begins
from decision_engine.features.record import read_record
from decision_engine.features.slot_kinds import SlotKind
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, State, decode_state

RESPONSES = "nbo.response.recorded"
"""The one type of event in a state that is not the bank's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest event of an origin. `at_ms` is exact, or where only its hour or day is known (`within`: `h`, `d`) when
    that began."""

    at_ms: int
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """The newest event of the bank's systems and the newest response; None where the state knows of none. An event that
    no feature, profile attribute, consent or product heeds leaves no trace."""

    bank: Newest | None
    responses: Newest | None


def freshness(features: CompiledFeatures, state: bytes | None) -> Freshness:
    """What a state knows of the times of its events. Raises StateUnreadable."""
    if state is None:
        return Freshness(bank=None, responses=None)
    taken = decode_state(state, features.layout_bytes)
    exact = {False: _of_record(features, taken), True: 0}
    for number, time_ms in _of_slots(features, taken):
        answered = features.stored.slots[number].source == RESPONSES
        exact[answered] = max(exact[answered], time_ms)
    rows = _of_rows(features, taken)
    return Freshness(bank=_newest(exact[False], rows[False]), responses=_newest(exact[True], rows[True]))


def _newest(exact_ms: int, row: tuple[int, str]) -> Newest | None:
    """The later one; a moment within a row's stretch is as late as the row can tell."""
    began_ms, unit = row
    if exact_ms and exact_ms >= began_ms:
        return Newest(at_ms=exact_ms)
    return Newest(at_ms=began_ms, within=unit) if began_ms else None


def _of_record(features: CompiledFeatures, state: State) -> int:
    """When the newest profile value, consent or product was told."""
    record = read_record(state.record, features.stored.profile)
    told = [time for time, _ in (*record.profile.values(), *record.consents.values())]
    moved = [time for accounts in record.holdings.values() for both in accounts.values() for time in both]
    return max((*told, *moved), default=0)


def _of_slots(features: CompiledFeatures, state: State) -> list[tuple[int, int]]:
    """The whole-life facts that know when their last event was."""
    found = []
    for place, number in enumerate(state.slots):
        kind = features.stored.slots[number].kind
        if kind is SlotKind.SPAN:
            found.append((number, state.second[place]))
        elif kind is SlotKind.LAST:
            found.append((number, state.first[place]))
    return found


def _of_rows(features: CompiledFeatures, state: State) -> dict[bool, tuple[int, str]]:
    """By whether they count responses, when the newest hour or day with a row began, and which of the two it is."""
    last = {key >> BUCKET_BITS: key & BUCKET_MASK for key in state.keys}
    """Of each signature; keys are sorted, so the last row is the newest."""
    newest: dict[tuple[bool, str], int] = {}
    width, table, streams = features.signature_width, state.signatures, features.stored.streams
    for signature, bucket in last.items():
        bits = int.from_bytes(table[signature * width : (signature + 1) * width], "little")
        stream = streams[(bits & -bits).bit_length() - 1]  # all of a signature count the same event
        place = stream.source == RESPONSES, stream.unit
        newest[place] = max(newest.get(place, 0), bucket)
    found = {False: (0, ""), True: (0, "")}
    for (answered, unit), bucket in newest.items():
        began = bucket * HOUR_MS if unit == HOURS else day_begins(features.day_of, first_day(unit, bucket))
        found[answered] = max(found[answered], (began, unit))
    return found
