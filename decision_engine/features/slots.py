"""Whole-life facts of a state: counts and sums, extremes, first and last events, first and last values."""

from array import array
from bisect import bisect_left
from collections.abc import Callable
from struct import pack, unpack
from typing import Protocol

from decision_engine.features.definitions import Value
from decision_engine.features.effects import NumberedSlot
from decision_engine.features.remembered import Remembered
from decision_engine.features.slot_kinds import SlotKind
from decision_engine.features.state import State
from decision_engine.features.update import Update

Number = bool | int | float

NO_VALUE, WHOLE, DOUBLE, YES_NO = range(4)
"""Tags of a slot's second number: plain bookkeeping, or the type of the value it holds."""
_LARGEST, _SMALLEST = (1 << 63) - 1, -(1 << 63)


def set_slot(state: State, slot: NumberedSlot, update: Update, texts: Callable[[], Remembered]) -> None:
    """Takes one event into a slot; order does not matter."""
    value = update.fields[slot.field] if slot.field else 0
    if isinstance(value, str):
        note = texts().note_last if slot.kind is SlotKind.LAST else texts().note_first
        note(slot.number, update.time_ms, value)
        return
    take_into(state, slot.number, slot.kind, update.time_ms, value)


class FactColumns(Protocol):
    """Where facts stand: a sorted column of keys and three beside it."""

    slots: "array[int]"
    tags: "array[int]"
    first: "array[int]"
    second: "array[int]"


def take_into(facts: FactColumns, key: int, kind: SlotKind, time_ms: int, value: Value) -> None:
    """Takes one number into the fact of that key; order does not matter. A text counts as nothing."""
    if isinstance(value, str):
        return
    at = bisect_left(facts.slots, key)
    if at == len(facts.slots) or facts.slots[at] != key:
        tag, first, second = _begin(kind, time_ms, value)
        facts.slots.insert(at, key)
        facts.tags.insert(at, tag)
        facts.first.insert(at, first)
        facts.second.insert(at, second)
        return
    _continue(facts, at, kind, time_ms, value)


def slot_value(tag: int, number: int) -> Value:
    """The value that a last or first slot holds."""
    if tag == DOUBLE:
        value: float = unpack("<d", pack("<q", number))[0]
        return value
    return bool(number) if tag == YES_NO else number


def _begin(kind: SlotKind, time_ms: int, value: Number) -> tuple[int, int, int]:
    match kind:
        case SlotKind.TOTALS:
            return NO_VALUE, 1, int(value)
        case SlotKind.EXTREMES:
            return NO_VALUE, int(value), int(value)
        case SlotKind.SPAN:
            return NO_VALUE, time_ms, time_ms
        case _:
            tag, number = _packed(value)
            return tag, time_ms, number


def _continue(facts: FactColumns, at: int, kind: SlotKind, time_ms: int, value: Number) -> None:
    first, second = facts.first, facts.second
    match kind:
        case SlotKind.TOTALS:
            first[at] += 1
            second[at] = max(_SMALLEST, min(_LARGEST, second[at] + int(value)))
        case SlotKind.EXTREMES:
            first[at], second[at] = min(first[at], int(value)), max(second[at], int(value))
        case SlotKind.SPAN:
            first[at], second[at] = min(first[at], time_ms), max(second[at], time_ms)
        case _:
            known = (first[at], slot_value(facts.tags[at], second[at]))
            chosen = max if kind is SlotKind.LAST else min
            if chosen(known, (time_ms, value)) != known:
                facts.tags[at], second[at] = _packed(value)
                first[at] = time_ms


def _packed(value: Number) -> tuple[int, int]:
    if isinstance(value, bool):
        return YES_NO, int(value)
    if isinstance(value, int):
        return WHOLE, max(_SMALLEST, min(_LARGEST, value))
    number: int = unpack("<q", pack("<d", value))[0]
    return DOUBLE, number
