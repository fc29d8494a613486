"""Different values: counted exactly while they are few, estimated by a HyperLogLog beyond.

An entry is a 64-bit number: stream (11 bits), what was seen (32), the newest bucket it was seen in (21). Of the values
of a stream the newest `MAX_DISTINCT` + 1 are kept by their 32-bit hash. Once there are that many, the stream has a
sketch as well, under its number plus `MAX_STREAMS`: for each of 512 registers the ranks that were seen, each with its
newest bucket, but for those that a larger and newer one makes irrelevant (Chabchoub and Hebrail, "Sliding HyperLogLog",
2010). What is kept is the same for every order of events, so what is read is too.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from decision_engine.features.calendar_units import Now
from decision_engine.features.definitions import Value
from decision_engine.features.effects import Numbered
from decision_engine.features.hyperloglog import REGISTER_BITS, estimate, register_and_rank
from decision_engine.features.layout import LIFE, MAX_STREAMS
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, STREAM_SHIFT, Sections, State
from decision_engine.identifiers import key32

MAX_DISTINCT = 256
"""Up to so many different values in a window are counted exactly."""
_RANK_BITS = 6
_SEEN_MASK = (1 << 32) - 1


def add_distinct(state: State, entry: Numbered, bucket: int, oldest: int, value: Value) -> None:
    """Remembers the newest bucket a value was seen in, unless no window reaches it any more."""
    if bucket < oldest:
        return
    distinct, stream = state.distinct, entry.number << STREAM_SHIFT
    seen = key32(str(value))
    if _has_sketch(distinct, entry.number):
        _add_to_sketch(distinct, entry.number, seen, bucket, oldest)
    prefix = stream | seen << BUCKET_BITS
    at = bisect_left(distinct, prefix)
    if at < len(distinct) and distinct[at] >> BUCKET_BITS == prefix >> BUCKET_BITS:
        distinct[at] = max(distinct[at], prefix | bucket)
        return
    distinct.insert(at, prefix | bucket)
    start, end = _span(distinct, entry.number)
    buckets = [known & BUCKET_MASK for known in distinct[start:end]]
    if min(buckets) < oldest:
        distinct[start:end] = array("Q", [known for known in distinct[start:end] if known & BUCKET_MASK >= oldest])
    elif len(buckets) > MAX_DISTINCT:
        if not _has_sketch(distinct, entry.number):
            for known in distinct[start:end]:
                _add_to_sketch(distinct, entry.number, known >> BUCKET_BITS & _SEEN_MASK, known & BUCKET_MASK, oldest)
        if len(buckets) > MAX_DISTINCT + 1:
            del distinct[start + buckets.index(min(buckets))]


class DistinctReadings(NamedTuple):
    """What is read from one stream of values: names and how far back each looks."""

    stream: int
    unit: str
    reaches: tuple[tuple[str, int], ...]


def plan_distinct(readings: Iterable[tuple[str, int, str, int]]) -> tuple[DistinctReadings, ...]:
    """For name, stream, unit and reach of each."""
    streams: dict[tuple[int, str], list[tuple[str, int]]] = {}
    for name, stream, unit, reach in readings:
        streams.setdefault((stream, unit), []).append((name, reach))
    return tuple(
        DistinctReadings(stream=stream, unit=unit, reaches=tuple(reaches))
        for (stream, unit), reaches in streams.items()
    )


def read_distinct(
    plan: tuple[DistinctReadings, ...], state: bytes, at: Sections, now: Now, attributes: dict[str, Value]
) -> None:
    """Sets the attributes of those streams that saw a value in their windows."""
    column = array("Q", state[at.distinct_at : at.first_at])
    for stream, unit, reaches in plan:
        start, end = _span(column, stream)
        if start == end:
            continue
        newest = 0 if unit == LIFE else now.bucket(unit)
        seen = sorted([entry & BUCKET_MASK for entry in column[start:end]])
        ahead = bisect_right(seen, newest)
        for name, reach in reaches:
            oldest = newest - reach + 1
            inside = ahead - bisect_left(seen, oldest, 0, ahead)
            if inside > MAX_DISTINCT:
                attributes[name] = _estimated(column, stream, oldest, newest, inside)
            elif inside:
                attributes[name] = inside


def _estimated(column: "array[int]", stream: int, oldest: int, newest: int, at_least: int) -> int:
    """What the sketch of the stream says of these buckets, both ends included."""
    registers = [0] * (1 << REGISTER_BITS)
    start, end = _span(column, stream + MAX_STREAMS)
    for seen in column[start:end]:
        if oldest <= seen & BUCKET_MASK <= newest:
            # Within a register larger ranks stand behind smaller ones.
            register, rank = _register_of(seen)
            registers[register] = rank
    return max(at_least, round(estimate(registers)))


def _span(column: "array[int]", stream: int) -> tuple[int, int]:
    start = bisect_left(column, stream << STREAM_SHIFT)
    return start, bisect_left(column, (stream + 1) << STREAM_SHIFT, start)


def _register_of(entry: int) -> tuple[int, int]:
    seen = entry >> BUCKET_BITS & _SEEN_MASK
    return seen >> _RANK_BITS, seen & (1 << _RANK_BITS) - 1


def _has_sketch(column: "array[int]", stream: int) -> bool:
    start = bisect_left(column, (stream + MAX_STREAMS) << STREAM_SHIFT)
    return start < len(column) and column[start] >> STREAM_SHIFT == stream + MAX_STREAMS


def _add_to_sketch(column: "array[int]", stream: int, seen: int, bucket: int, oldest: int) -> None:
    """Notes the rank in its register, and drops what that or time has made irrelevant there."""
    register, rank = register_and_rank(seen)
    first = (stream + MAX_STREAMS) << STREAM_SHIFT | register << _RANK_BITS + BUCKET_BITS
    start = bisect_left(column, first)
    end = bisect_left(column, first + (1 << _RANK_BITS + BUCKET_BITS), start)
    ranks = {_register_of(entry)[1]: entry & BUCKET_MASK for entry in column[start:end]}
    ranks[rank] = max(ranks.get(rank, bucket), bucket)
    kept: list[int] = []
    newest = oldest - 1
    for known in sorted(ranks, reverse=True):
        if ranks[known] > newest:
            newest = ranks[known]
            kept.append(first | known << BUCKET_BITS | newest)
    column[start:end] = array("Q", reversed(kept))
