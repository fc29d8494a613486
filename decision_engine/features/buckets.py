"""Adds events to the bucket tables of a state, and sweeps what no window reaches any more."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from decision_engine.features.definitions import Value
from decision_engine.features.effects import Numbered, Row
from decision_engine.features.layout import MAX_STREAMS, Layout
from decision_engine.features.remembered import Remembered
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, STREAM_SHIFT, State
from decision_engine.features.update import Update
from decision_engine.identifiers import key32

MAX_DISTINCT = 256
"""Different values remembered per distinct feature. Up to so many in the longest window counts are exact; beyond, the
value not seen for the longest time is forgotten, so that the count stays there."""
MAX_SIGNATURES = 2 * MAX_STREAMS
_MOST_COMBINED = MAX_SIGNATURES - MAX_STREAMS
"""Beyond so many combinations an event is spread over one row a stream, for which room is kept."""
_MOST_SPANS = 65_536
_LARGEST, _SMALLEST = (1 << 63) - 1, -(1 << 63)


def add_totals(state: State, row: Row, bucket: int, update: Update) -> None:
    """Counts an event, adds its value to the sum and, where they are asked for, widens the extremes."""
    value = update.fields[row.field] if row.field else 0
    for signature in _signatures(state, row):
        key = signature << BUCKET_BITS | bucket
        at = bisect_left(state.keys, key)
        if at == len(state.keys) or state.keys[at] != key:
            state.keys.insert(at, key)
            state.counts.insert(at, 0)
            state.sums.insert(at, 0)
        elif row.extremes:
            _widen_extremes(state, key, int(state.sums[at]), int(value))
        _count_one(state, at)
        if value:
            _add_to_sum(state, at, int(value))


def _widen_extremes(state: State, key: int, only: int, value: int) -> None:
    """While a row stands for one event its sum is its smallest and largest value; from the second on they are kept."""
    keys = state.x_keys
    at = bisect_left(keys, key)
    if at == len(keys) or keys[at] != key:
        keys.insert(at, key)
        state.x_lowest.insert(at, min(only, value))
        state.x_highest.insert(at, max(only, value))
    elif value < state.x_lowest[at]:
        state.x_lowest[at] = value
    elif value > state.x_highest[at]:
        state.x_highest[at] = value


def add_distinct(state: State, entry: Numbered, bucket: int, oldest: int, value: Value) -> None:
    """Remembers the newest bucket a value was seen in, unless no window reaches it any more."""
    if bucket < oldest:
        return
    distinct, stream = state.distinct, entry.number << STREAM_SHIFT
    prefix = stream | key32(str(value)) << BUCKET_BITS
    at = bisect_left(distinct, prefix)
    if at < len(distinct) and distinct[at] >> BUCKET_BITS == prefix >> BUCKET_BITS:
        distinct[at] = max(distinct[at], prefix | bucket)
        return
    distinct.insert(at, prefix | bucket)
    start = bisect_left(distinct, stream)
    kept = distinct[start : bisect_left(distinct, stream + (1 << STREAM_SHIFT), start)]
    end = start + len(kept)
    kept = array("Q", [seen for seen in kept if seen & BUCKET_MASK >= oldest])
    if len(kept) > MAX_DISTINCT:
        kept.remove(min(kept, key=lambda seen: (seen & BUCKET_MASK, seen)))
    distinct[start:end] = kept


def add_edges(remembered: Remembered, entry: Numbered, bucket: int, oldest: int, update: Update) -> None:
    """Notes the event as a first or last one of its bucket."""
    if bucket >= oldest:
        remembered.note_edges(entry.number, bucket, update.time_ms, update.fields[entry.field])
        remembered.prune_edges(entry.number, oldest)


def prune(state: State, layout: Layout, day: int, hour: int) -> None:
    """Drops rows older than the longest window of any stream they count for, then signatures without rows."""
    width = max(1, (len(layout.streams) + 7) // 8)
    total = len(state.signatures) // width
    used: list[int] = []
    for number in range(total):
        hourly, keep = _span(state.signatures[number * width : (number + 1) * width], layout)
        oldest = (hour if hourly else day) - keep + 1
        left = _drop(state.keys, (state.counts, state.sums), number, oldest)
        if state.x_keys:
            _drop(state.x_keys, (state.x_lowest, state.x_highest), number, oldest)
        if left:
            used.append(number)
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


def _drop(keys: "array[int]", columns: Sequence["array[int]"], signature: int, oldest: int) -> int:
    """Deletes the signature's rows before the oldest bucket; how many are left."""
    start = bisect_left(keys, signature << BUCKET_BITS)
    stop = bisect_left(keys, signature << BUCKET_BITS | max(oldest, 0), start)
    if stop > start:
        for column in (keys, *columns):
            del column[start:stop]
    return bisect_left(keys, (signature + 1) << BUCKET_BITS, start) - start


def _renumber(state: State, used: list[int], width: int) -> None:
    """Closes the gaps; the order stays, so keys stay sorted."""
    shifts = {number: (number - position) << BUCKET_BITS for position, number in enumerate(used)}
    for keys in (state.keys, state.x_keys):
        for at, key in enumerate(keys):
            keys[at] = key - shifts[key >> BUCKET_BITS]
    state.signatures = b"".join(state.signatures[number * width : (number + 1) * width] for number in used)


def _signatures(state: State, row: Row) -> tuple[int, ...]:
    """The numbers of the signatures the event's rows are kept under: one, but for absurdly many combinations."""
    width = len(row.signature)
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


def _count_one(state: State, at: int) -> None:
    try:
        state.counts[at] += 1
    except OverflowError:
        state.counts = array("H" if state.counts.typecode == "B" else "I", state.counts)
        state.counts[at] += 1


def _add_to_sum(state: State, at: int, value: int) -> None:
    total = state.sums[at] + value
    try:
        state.sums[at] = total
    except OverflowError:
        state.sums = array("q", state.sums)
        # A sum that leaves 64 bits stays at the end of them: wrong by then, but never a crash or a change of sign.
        state.sums[at] = max(_SMALLEST, min(_LARGEST, total))
