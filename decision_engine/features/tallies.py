"""What a state keeps beside day and hour rows, as one section that most events copy through untouched.

header   20 bytes, see HEADER
firsts   int64 a fact per account         | seconds  int64 likewise: what they mean depends on the fact
moments  uint64 a moment: its kind (21 bits), epoch milliseconds (43); sorted
numbers  int32 a row, or int64 once one needed it: a sum, a smallest or a largest value
keys     uint32 a row: series (11 bits), bucket (21); sorted
series   uint32 a series: its stream (16 bits), the number of its value (16, 0 for none)
facts    uint32 a fact per account: the fact (16 bits), the number of its value (16); sorted
same     uint32 a moment: the key of the value it must share, 0 for none
counts   uint8 a row, or uint16 or uint32 once one needed it
tags     uint8 a fact per account: the type of its value
values   JSON: the values that rows and facts are told apart by, in the order of their first use
"""

import json
from array import array
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library's name is lower case

from decision_engine.errors import DAMAGE, StateUnreadable
from decision_engine.features.definitions import Value

HEADER = Struct("<BBHIIII")
"""Type codes of counts and numbers; series; rows, facts, moments, bytes of values."""
SERIES_BITS = 11
BUCKET_BITS = 21
BUCKET_MASK = (1 << BUCKET_BITS) - 1
"""Minutes since the epoch do not fit and are kept modulo this: rows reach back two days, so none is ever mistaken."""
MAX_SERIES = 1 << SERIES_BITS
VALUE_BITS = 16
VALUE_MASK = (1 << VALUE_BITS) - 1
MOMENT_BITS = 43
MOMENT_MASK = (1 << MOMENT_BITS) - 1

_DECODE = json.JSONDecoder().decode
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Tallies:
    """The section taken apart. `slots`, `tags`, `first` and `second` are the columns of the facts per account, named
    as those of the slots because the same code fills both."""

    __slots__ = (
        "_numbers_of_values",
        "counts",
        "first",
        "keys",
        "moments",
        "numbers",
        "same",
        "second",
        "series",
        "slots",
        "tags",
        "values",
    )

    def __init__(self) -> None:
        self.keys, self.counts, self.numbers = array("I"), array("B"), array("i")
        self.series = array("I")
        self.slots, self.tags, self.first, self.second = array("I"), array("B"), array("q"), array("q")
        self.moments, self.same = array("Q"), array("I")
        self.values: list[Value] = []
        self._numbers_of_values: dict[tuple[type, Value], int] | None = None

    def value_of(self, number: int) -> Value:
        """The value behind its number, which begins at 1."""
        return self.values[number - 1]

    def number_of(self, value: Value) -> int | None:
        """The number of a value, a new one at its first use; None when no number is left."""
        numbers = self._numbers_of_values
        if numbers is None:
            numbers = self._numbers_of_values = {(type(v), v): n for n, v in enumerate(self.values, 1)}
        known = numbers.get((type(value), value))
        if known is None:
            if len(self.values) >= VALUE_MASK:
                return None
            self.values.append(value)
            known = numbers[type(value), value] = len(self.values)
        return known

    def replace_values(self, values: list[Value]) -> None:
        """Other values; whoever does this renumbers what refers to them."""
        self.values, self._numbers_of_values = values, None


def read_tallies(section: bytes) -> Tallies:
    """The section taken apart. Raises StateUnreadable for damaged bytes."""
    taken = Tallies()
    if not section:
        return taken
    try:
        counts_code, numbers_code, series, rows, facts, moments, values = HEADER.unpack_from(section)
        taken.counts, taken.numbers = array(chr(counts_code)), array(chr(numbers_code))
    except (StructError, ValueError) as cause:
        raise StateUnreadable("the tallies of the stored state are damaged") from cause
    columns = (
        (taken.first, facts), (taken.second, facts), (taken.moments, moments), (taken.numbers, rows),
        (taken.keys, rows), (taken.series, series), (taken.slots, facts), (taken.same, moments),
        (taken.counts, rows), (taken.tags, facts),
    )  # fmt: skip
    at = HEADER.size
    if at + values + sum([length * column.itemsize for column, length in columns]) != len(section):
        raise StateUnreadable("the tallies of the stored state are cut short or damaged")
    for column, length in columns:
        end = at + length * column.itemsize
        column.frombytes(section[at:end])
        at = end
    if values:
        try:
            taken.values = list(_DECODE(section[at:].decode("utf-8", "surrogatepass")))
        except DAMAGE as cause:
            raise StateUnreadable("the values of the stored state's tallies are damaged") from cause
    return taken


def write_tallies(tallies: Tallies) -> bytes:
    """The section; empty when there is nothing in it."""
    if not tallies.keys and not tallies.slots and not tallies.moments:
        return b""
    values = _ENCODE(tallies.values).encode("utf-8", "surrogatepass") if tallies.values else b""
    header = HEADER.pack(
        ord(tallies.counts.typecode), ord(tallies.numbers.typecode), len(tallies.series), len(tallies.keys),
        len(tallies.slots), len(tallies.moments), len(values),
    )  # fmt: skip
    return b"".join((
        header, tallies.first, tallies.second, tallies.moments, tallies.numbers, tallies.keys, tallies.series,
        tallies.slots, tallies.same, tallies.counts, tallies.tags, values,
    ))  # fmt: skip
