"""The stored form of a customer's state: one compact value, little-endian, written whole.

    header      80 bytes, see HEADER
    positions   int64 a state topic: offset of the last event applied, -1 before the first
    memory      uint64 a remembered event key, oldest first; its highest byte is the number of the topic
    distinct    uint64 a value seen: stream (11 bits), 32-bit hash of the value, newest bucket (21); sorted
    first       int64 a slot set                 | second     int64 a slot set: what they mean depends on the slot
    x_lowest    as sums, a totals row of several events whose extremes are asked for
    x_highest   likewise
    sums        int32 a totals row, or int64 once one of these three needed it
    keys        uint32 a totals row: signature (11 bits), bucket (21); sorted
    x_keys      uint32: which rows x_lowest and x_highest belong to; sorted
    counts      uint8 a totals row, or uint16 or uint32 once one needed it
    slots       uint16 a slot set: its number; sorted
    tags        uint8 a slot set: the type of its value
    signatures  fixed width: the set of streams, a bit each, that a row counts for
    record      JSON: profile, consents, holdings
    remembered  JSON: texts, and the first and last values of windows
    tallies     what is told apart by value, by minute, week or month, and moments (`features/tallies.py`)

Rows are not per stream: an event that passes five filters over one field adds one row, under the signature of the
five streams, and reading spreads the row over them. So a state grows with what a customer does, not with what is
declared. Signatures are numbered in the order of their first use.
"""

from array import array
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library's name is lower case

from decision_engine.errors import StateUnreadable
from decision_engine.features.layout import LAYOUT_VERSION

HEADER = Struct("<2sBBBBBB8sQqqHHHHIIIIII")
"""Magic, layout version, flags, type codes of counts and sums, positions, padding; layout hash; write counter; newest
event and erasure (epoch milliseconds); memory, signatures, slots, signature width; bytes of tallies, totals rows,
extremes rows, distinct values, bytes of record, bytes of remembered."""
MAGIC = b"KS"
ERASED_FLAG = 1
NEVER = -(1 << 63)
"""The time of what has not happened."""
BUCKET_BITS = 21
BUCKET_MASK = (1 << BUCKET_BITS) - 1
STREAM_SHIFT = 32 + BUCKET_BITS
"""Where the stream stands in a distinct entry."""
_FLAGS_AT, _POSITIONS_AT, _VERSION_AT, _ERASED_AT = 3, 6, 16, 32


class State:
    """A state taken apart for folding. Columns of one table have the same length; keys are sorted. Sums and extremes
    have one type code."""

    __slots__ = (
        "counts",
        "distinct",
        "erased",
        "erased_ms",
        "first",
        "keys",
        "memory",
        "newest_ms",
        "positions",
        "record",
        "remembered",
        "second",
        "signatures",
        "slots",
        "sums",
        "tags",
        "tallies",
        "version",
        "x_highest",
        "x_keys",
        "x_lowest",
    )

    def __init__(self) -> None:
        self.version = 0
        self.newest_ms = NEVER
        self.erased_ms = NEVER
        self.erased = False
        self.positions = array("q")
        self.memory = array("Q")
        self.clear()

    def clear(self) -> None:
        """Forgets everything about the person; where the log was read to, and which events were seen, stays."""
        self.signatures = b""
        self.keys, self.counts, self.sums = array("I"), array("B"), array("i")
        self.x_keys, self.x_lowest, self.x_highest = array("I"), array("i"), array("i")
        self.distinct = array("Q")
        self.slots, self.tags, self.first, self.second = array("H"), array("B"), array("q"), array("q")
        self.record = b""
        self.remembered = b""
        self.tallies = b""


class Sections:
    """Where everything stands inside a stored state."""

    __slots__ = (
        "counts_at",
        "counts_code",
        "distinct_at",
        "distincts",
        "erased",
        "erased_ms",
        "extremes",
        "first_at",
        "keys_at",
        "memory_at",
        "newest_ms",
        "record_at",
        "remembered_at",
        "second_at",
        "signature_width",
        "signatures",
        "signatures_at",
        "slot_count",
        "slots_at",
        "sums_at",
        "sums_code",
        "tags_at",
        "tallies_at",
        "totals",
        "version",
        "x_highest_at",
        "x_keys_at",
        "x_lowest_at",
    )

    def __init__(self, state: bytes, layout: bytes) -> None:
        """Raises StateUnreadable when the bytes are not a state of this layout."""
        try:
            (
                magic, layout_version, flags, counts_code, sums_code, positions, _, written_by,
                self.version, self.newest_ms, self.erased_ms,
                memory, self.signatures, self.slot_count, self.signature_width, tallies,
                self.totals, self.extremes, self.distincts, record, remembered,
            ) = HEADER.unpack_from(state)  # fmt: skip
        except StructError as cause:
            raise StateUnreadable("the stored state is shorter than its header") from cause
        if magic != MAGIC or layout_version != LAYOUT_VERSION:
            raise StateUnreadable(f"the stored value is no customer state of layout version {LAYOUT_VERSION}")
        if written_by != layout:
            raise StateUnreadable(f"the state was written for layout {written_by.hex()}, not {layout.hex()}")
        self.erased = flags & ERASED_FLAG != 0
        self.counts_code, self.sums_code, count_width, sum_width = _CODES.get((counts_code, sums_code), _NO_CODES)
        totals, extremes, slots = self.totals, self.extremes, self.slot_count
        self.memory_at = HEADER.size + 8 * positions
        self.distinct_at = at = self.memory_at + 8 * memory
        self.first_at = at = at + 8 * self.distincts
        self.second_at = at = at + 8 * slots
        self.x_lowest_at = at = at + 8 * slots
        self.x_highest_at = at = at + sum_width * extremes
        self.sums_at = at = at + sum_width * extremes
        self.keys_at = at = at + sum_width * totals
        self.x_keys_at = at = at + 4 * totals
        self.counts_at = at = at + 4 * extremes
        self.slots_at = at = at + count_width * totals
        self.tags_at = at = at + 2 * slots
        self.signatures_at = at = at + slots
        self.record_at = at = at + self.signatures * self.signature_width
        self.remembered_at = at = at + record
        self.tallies_at = at = at + remembered
        if at + tallies != len(state) or not count_width:
            raise StateUnreadable("the stored state is cut short or damaged")


_CODES = {
    (ord(counts), ord(sums)): (counts, sums, array(counts).itemsize, array(sums).itemsize)
    for counts in "BHI"
    for sums in "iq"
}
"""Type codes of counts and sums as stored, to them as text and the bytes they take."""
_NO_CODES = ("", "", 0, 0)


def state_version(state: bytes) -> int:
    """How often the state has been written; a store may compare it instead of the whole value."""
    return int.from_bytes(state[_VERSION_AT : _VERSION_AT + 8], "little")


def is_erased(state: bytes) -> bool:
    """Whether the state says no more than that its person was erased."""
    return state[_FLAGS_AT] & ERASED_FLAG != 0


def is_placeholder(state: bytes) -> bool:
    """Whether it is what `erased_state` made in place of a state: no log was ever read into it."""
    return is_erased(state) and state[_POSITIONS_AT] == 0


def erased_until(state: bytes) -> int:
    """Up to when the person's events were erased (epoch milliseconds); NEVER where none were."""
    return int.from_bytes(state[_ERASED_AT : _ERASED_AT + 8], "little", signed=True)


def told(state: bytes) -> tuple[object, ...]:
    """What reading a state's features can depend on beside the moment: two states of one layout that are equal in this
    read alike. Left out are positions, remembered events, the write counter and the newest event's time."""
    fields = HEADER.unpack_from(state)
    positions, memory = fields[5], fields[11]
    return fields[2:5], fields[12:], state[HEADER.size + 8 * (positions + memory) :]


def decode_state(state: bytes, layout: bytes) -> State:
    """Takes a stored state apart. Raises StateUnreadable for foreign bytes."""
    at = Sections(state, layout)
    taken = State.__new__(State)
    taken.version, taken.newest_ms, taken.erased_ms, taken.erased = at.version, at.newest_ms, at.erased_ms, at.erased
    taken.positions = array("q", state[HEADER.size : at.memory_at])
    taken.memory = array("Q", state[at.memory_at : at.distinct_at])
    if at.totals:
        taken.sums = array(at.sums_code, state[at.sums_at : at.keys_at])
        taken.keys = array("I", state[at.keys_at : at.x_keys_at])
        taken.counts = array(at.counts_code, state[at.counts_at : at.slots_at])
    else:
        taken.sums, taken.keys, taken.counts = array(at.sums_code), array("I"), array("B")
    if at.extremes:
        taken.x_lowest = array(at.sums_code, state[at.x_lowest_at : at.x_highest_at])
        taken.x_highest = array(at.sums_code, state[at.x_highest_at : at.sums_at])
        taken.x_keys = array("I", state[at.x_keys_at : at.counts_at])
    else:
        taken.x_lowest, taken.x_highest, taken.x_keys = array(at.sums_code), array(at.sums_code), array("I")
    taken.distinct = array("Q", state[at.distinct_at : at.first_at])
    if at.slot_count:
        taken.first = array("q", state[at.first_at : at.second_at])
        taken.second = array("q", state[at.second_at : at.x_lowest_at])
        taken.slots = array("H", state[at.slots_at : at.tags_at])
        taken.tags = array("B", state[at.tags_at : at.signatures_at])
    else:
        taken.first, taken.second, taken.slots, taken.tags = array("q"), array("q"), array("H"), array("B")
    taken.signatures = state[at.signatures_at : at.record_at]
    taken.record = state[at.record_at : at.remembered_at]
    taken.remembered = state[at.remembered_at : at.tallies_at]
    taken.tallies = state[at.tallies_at :]
    return taken


def encode_state(state: State, layout: bytes, signature_width: int) -> bytes:
    """The stored form, its write counter as it stands."""
    if not state.keys:
        state.counts, state.sums, state.x_lowest, state.x_highest = array("B"), array("i"), array("i"), array("i")
    header = HEADER.pack(
        MAGIC, LAYOUT_VERSION, ERASED_FLAG if state.erased else 0, ord(state.counts.typecode), ord(state.sums.typecode),
        len(state.positions), 0, layout, state.version, state.newest_ms, state.erased_ms,
        len(state.memory), len(state.signatures) // signature_width, len(state.slots), signature_width,
        len(state.tallies), len(state.keys), len(state.x_keys), len(state.distinct),
        len(state.record), len(state.remembered),
    )  # fmt: skip
    return b"".join((
        header, state.positions, state.memory, state.distinct, state.first, state.second,
        state.x_lowest, state.x_highest, state.sums, state.keys, state.x_keys, state.counts, state.slots, state.tags,
        state.signatures, state.record, state.remembered, state.tallies,
    ))  # fmt: skip
