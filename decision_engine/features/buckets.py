"""Adds events to the bucket tables of a state, and sweeps what no window reaches any more."""

from array import array
from bisect import bisect_left, bisect_right

from decision_engine.features.effects import Numbered, Row
from decision_engine.features.layout import MAX_STREAMS, Layout
from decision_engine.features.remembered import Remembered
from decision_engine.features.state import BUCKET_BITS, State
from decision_engine.features.update import Update

MAX_SIGNATURES = 2 * MAX_STREAMS
_MOST_COMBINED = MAX_SIGNATURES - MAX_STREAMS
"""Beyond so many combinations an event is spread over one row a stream, for which room is kept."""
_MOST_SPANS = 65_536
_FEW_ROWS = 16
"""About 150 bytes."""
_NARROW = -(1 << 31) + 1
"""The smallest value of 32 bits whose opposite has 32 bits too."""
_LARGEST, _SMALLEST = (1 << 63) - 1, -(1 << 63)


def add_totals(state: State, row: Row, bucket: int, update: Update) -> None:
    """Counts an event, adds its value to the sum and, where they are asked for, widens the extremes."""
    value = int(update.fields[row.field]) if row.field else 0
    keys, counts = state.keys, state.counts
    for signature in _signatures(state, row):
        key = signature << BUCKET_BITS | bucket
        at = bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            keys.insert(at, key)
            counts.insert(at, 1)
            state.sums.insert(at, 0)
        else:
            if row.extremes:
                _widen_extremes(state, key, state.sums[at], value)
            try:
                counts[at] += 1
            except OverflowError:
                counts = _wider_counts(state)
                counts[at] += 1
        if value:
            try:
                state.sums[at] += value
            except OverflowError:
                _add_to_wide_sum(state, at, value)


def _widen_extremes(state: State, key: int, only: int, value: int) -> None:
    """While a row stands for one event its sum is its smallest and largest value; from the second on they are kept."""
    keys = state.x_keys
    if not _NARROW <= value <= -_NARROW:
        _widen_sums(state)
    at = bisect_left(keys, key)
    if at == len(keys) or keys[at] != key:
        keys.insert(at, key)
        state.x_lowest.insert(at, min(only, value))
        state.x_highest.insert(at, max(only, value))
    elif value < state.x_lowest[at]:
        state.x_lowest[at] = value
    elif value > state.x_highest[at]:
        state.x_highest[at] = value


def add_edges(remembered: Remembered, entry: Numbered, bucket: int, oldest: int, update: Update) -> None:
    """Notes the event as a first or last one of its bucket."""
    if bucket >= oldest:
        remembered.note_edges(entry.number, bucket, update.time_ms, update.fields[entry.field])
        remembered.prune_edges(entry.number, oldest)


def prune(state: State, layout: Layout, day: int, hour: int) -> None:
    """Drops rows older than the longest window of any stream they count for, then signatures without rows. A few rows
    are not worth the work."""
    signatures, keys = state.signatures, state.keys
    if len(keys) <= _FEW_ROWS:
        return
    width = max(1, (len(layout.streams) + 7) // 8)
    total = len(signatures) // width
    used: list[int] = []
    stale: list[tuple[int, int]] = []
    start = 0
    for number in range(total):
        hourly, keep = _span(signatures[number * width : (number + 1) * width], layout)
        first, oldest = number << BUCKET_BITS, (hour if hourly else day) - keep + 1
        kept, end = start, bisect_left(keys, first + (1 << BUCKET_BITS), start)
        if start < end and keys[start] < first + oldest:
            kept = bisect_left(keys, first + oldest, start, end)
            stale.append((start, kept))
        if kept < end:
            used.append(number)
        start = end
    if stale:
        _drop(state, stale)
    if len(used) < total:
        _renumber(state, used, width)


def _span(signature: bytes, layout: Layout) -> tuple[bool, int]:
    """Whether the signature's rows are in hours, and how many units its longest window reaches back."""
    known = layout.spans.get(signature)
    if known is None:
        if len(layout.spans) >= _MOST_SPANS:
            layout.spans.clear()
        bits = int.from_bytes(signature, "little")
        streams = [number for number in range(len(layout.streams)) if bits >> number & 1]
        known = layout.hourly[streams[0]], max(layout.reaches[stream] for stream in streams)
        layout.spans[signature] = known
    return known


def _drop(state: State, stale: list[tuple[int, int]]) -> None:
    """Deletes these stretches of rows, with the extremes that belong to them."""
    keys, x_keys = state.keys, state.x_keys
    for start, stop in reversed(stale):
        if x_keys:
            x_start = bisect_left(x_keys, keys[start])
            x_stop = bisect_right(x_keys, keys[stop - 1], x_start)
            for column in (x_keys, state.x_lowest, state.x_highest):
                del column[x_start:x_stop]
        for column in (keys, state.counts, state.sums):
            del column[start:stop]


def _renumber(state: State, used: list[int], width: int) -> None:
    """Closes the gaps; the order stays, so keys stay sorted."""
    shifts = {number: (number - position) << BUCKET_BITS for position, number in enumerate(used)}
    state.keys = array("I", [key - shifts[key >> BUCKET_BITS] for key in state.keys])
    state.x_keys = array("I", [key - shifts[key >> BUCKET_BITS] for key in state.x_keys])
    state.signatures = b"".join(state.signatures[number * width : (number + 1) * width] for number in used)


def _signatures(state: State, row: Row) -> tuple[int, ...]:
    """The numbers of the signatures the event's rows are kept under: one, but for absurdly many combinations."""
    width = len(row.signature)
    at = state.signatures.find(row.signature)
    if at >= 0 and not at % width:
        return (at // width,)
    known = _find(state.signatures, row.signature)
    if known is not None:
        return (known,)
    if len(state.signatures) // width < _MOST_COMBINED:
        state.signatures += row.signature
        return (len(state.signatures) // width - 1,)
    numbers = []
    for single in row.singles:
        number = _find(state.signatures, single)
        if number is None:
            state.signatures += single
            number = len(state.signatures) // width - 1
        numbers.append(number)
    return tuple(numbers)


def _find(table: bytes, signature: bytes) -> int | None:
    width = len(signature)
    at = table.find(signature)
    while at >= 0 and at % width:
        at = table.find(signature, at + 1)
    return at // width if at >= 0 else None


def _wider_counts(state: State) -> "array[int]":
    state.counts = array("H" if state.counts.typecode == "B" else "I", state.counts)
    return state.counts


def _widen_sums(state: State) -> None:
    """Sums and extremes have one width, which the stored form notes once."""
    if state.sums.typecode == "i":
        state.sums, state.x_lowest, state.x_highest = (
            array("q", column) for column in (state.sums, state.x_lowest, state.x_highest)
        )


def _add_to_wide_sum(state: State, at: int, value: int) -> None:
    """A sum that leaves 64 bits stays at the end of them: wrong by then, but never a crash or a change of sign."""
    _widen_sums(state)
    state.sums[at] = max(_SMALLEST, min(_LARGEST, state.sums[at] + value))
