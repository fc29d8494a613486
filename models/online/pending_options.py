"""Options under way in plain columns: some 100 bytes each, where objects in dictionaries took 750.

A row is a name in 32 bytes and six numbers; rows that are let go of are used again. Names are found by open addressing
in 256 small tables of row numbers, so that growing never moves more than a part. `DueRows` says which rows are to be
looked at when, by buckets of about four seconds.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, MutableMapping
from hashlib import blake2b
from heapq import heappop, heappush

import numpy as np

from models.online.evidence import CellKey
from models.online.impressions import Counted, Pending

_NAME_BYTES = 32
_HASHED = b"\xff"
"""Begins the key of a name that does not fit; no text in UTF-8 has this byte."""
_PARTS = 256
_FEWEST_SLOTS = 8
_FREE, _LEFT = -1, -2
_UNKNOWN = -(1 << 62)
"""A moment, cell or step that is not known."""
_NO_STEPS = -1
_BUCKET_BITS = 12
"""Of a moment in milliseconds: 4.096 seconds a bucket."""


class PendingOptions(MutableMapping[str, Pending]):
    """Options by tracking id. What is got is a copy: to change it, set it again."""

    def __init__(self, accepted_step: Callable[[int, int | None], int | None]) -> None:
        """`accepted_step` says at which step an acceptance counts, given when the option was seen and accepted."""
        self._accepted_step = accepted_step
        self._names, self._long = bytearray(), dict[int, str]()
        self._noted, self._seen, self._accepted = array("q"), array("q"), array("q")
        self._exposures, self._cells, self._steps = array("d"), array("i"), array("b")
        self._free = array("i")
        self._index = [_Part() for _ in range(_PARTS)]
        self._cell_keys: list[CellKey] = []
        self._cell_numbers: dict[CellKey, int] = {}

    def __len__(self) -> int:
        return len(self._steps) - len(self._free)

    def __iter__(self) -> Iterator[str]:
        free = set(self._free)
        return (self.name(row) for row in range(len(self._steps)) if row not in free)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.row(name) is not None

    def __getitem__(self, name: str) -> Pending:
        row = self.row(name)
        if row is None:
            raise KeyError(name)
        return self.at(row)

    def __setitem__(self, name: str, option: Pending) -> None:
        row = self.row(name)
        self.put(self.add(name) if row is None else row, option)

    def __delitem__(self, name: str) -> None:
        key = _key(name)
        part, spot = self._part(key)
        slot = part.find(spot, key, self._names)
        if slot is None:
            raise KeyError(name)
        row = part.slots[slot]
        part.leave(slot)
        self._long.pop(row, None)
        self._noted[row] = _UNKNOWN
        self._free.append(row)

    def row(self, name: str) -> int | None:
        """The row of that name; None where it is not kept."""
        key = _key(name)
        part, spot = self._part(key)
        slot = part.find(spot, key, self._names)
        return None if slot is None else part.slots[slot]

    def add(self, name: str) -> int:
        """A row for a name that is not kept yet; to be filled by `put`."""
        key = _key(name)
        row = self._new_row(key)
        if key[:1] == _HASHED:
            self._long[row] = name
        part, spot = self._part(key)
        part.enter(spot, row, self._names)
        return row

    def name(self, row: int) -> str:
        """The name of a row in use."""
        long = self._long.get(row)
        return self._names[row * _NAME_BYTES : (row + 1) * _NAME_BYTES].rstrip(b"\0").decode() if long is None else long

    def is_used(self, row: int) -> bool:
        """Whether the row holds an option."""
        return self._noted[row] != _UNKNOWN

    def at(self, row: int) -> Pending:
        """What a row in use holds."""
        seen, accepted, cell, steps = self._seen[row], self._accepted[row], self._cells[row], self._steps[row]
        seen_ms, accepted_ms = (None if at_ms == _UNKNOWN else at_ms for at_ms in (seen, accepted))
        counted = None
        if steps != _NO_STEPS and seen_ms is not None:
            counted = Counted(seen_ms, steps, self._accepted_step(seen_ms, accepted_ms))
        return Pending(
            noted_ms=self._noted[row],
            cell=None if cell < 0 else self._cell_keys[cell],
            exposure=self._exposures[row],
            seen_ms=seen_ms,
            accepted_ms=accepted_ms,
            counted=counted,
        )

    def put(self, row: int, option: Pending) -> None:
        """Fills a row. What is counted must be of the moments that the option has: `Book` sees to that."""
        self._noted[row], self._exposures[row] = option.noted_ms, option.exposure
        self._seen[row] = _UNKNOWN if option.seen_ms is None else option.seen_ms
        self._accepted[row] = _UNKNOWN if option.accepted_ms is None else option.accepted_ms
        self._cells[row] = -1 if option.cell is None else self._cell_number(option.cell)
        self._steps[row] = _NO_STEPS if option.counted is None else option.counted.steps

    def seen_count(self) -> int:
        """How many have been seen."""
        noted, seen = np.frombuffer(self._noted, np.int64), np.frombuffer(self._seen, np.int64)
        return int(((noted != _UNKNOWN) & (seen != _UNKNOWN)).sum())

    def _new_row(self, key: bytes) -> int:
        if self._free:
            row = self._free.pop()
            self._names[row * _NAME_BYTES : (row + 1) * _NAME_BYTES] = key
            return row
        self._names += key
        for moments in (self._noted, self._seen, self._accepted):
            moments.append(0)
        self._exposures.append(0.0)
        self._cells.append(-1)
        self._steps.append(_NO_STEPS)
        return len(self._steps) - 1

    def _part(self, key: bytes) -> tuple["_Part", int]:
        spot = hash(key)
        return self._index[spot % _PARTS], spot // _PARTS

    def _cell_number(self, cell: CellKey) -> int:
        number = self._cell_numbers.get(cell)
        if number is None:
            number = self._cell_numbers[cell] = len(self._cell_keys)
            self._cell_keys.append(cell)
        return number


class _Part:
    """Row numbers by the hash of their names: the next free slot takes what finds its own taken."""

    __slots__ = ("left", "slots", "used")

    def __init__(self) -> None:
        self.slots = array("i", [_FREE]) * _FEWEST_SLOTS
        self.used = 0
        self.left = 0
        """Slots that were used and lead on to others."""

    def find(self, spot: int, key: bytes, names: bytearray) -> int | None:
        slots, mask = self.slots, len(self.slots) - 1
        slot = spot & mask
        while (row := slots[slot]) != _FREE:
            if row >= 0 and names[row * _NAME_BYTES : (row + 1) * _NAME_BYTES] == key:
                return slot
            slot = (slot + 1) & mask
        return None

    def enter(self, spot: int, row: int, names: bytearray) -> None:
        if 3 * (self.used + self.left + 1) > 2 * len(self.slots):
            self._begin_anew(names)
        slots, mask = self.slots, len(self.slots) - 1
        slot = spot & mask
        while slots[slot] != _FREE:
            slot = (slot + 1) & mask
        slots[slot] = row
        self.used += 1

    def leave(self, slot: int) -> None:
        self.slots[slot] = _LEFT
        self.used -= 1
        self.left += 1

    def _begin_anew(self, names: bytearray) -> None:
        rows = [row for row in self.slots if row >= 0]
        size = _FEWEST_SLOTS
        while size < 2 * (len(rows) + 1):
            size *= 2
        self.slots, self.used, self.left = array("i", [_FREE]) * size, 0, 0
        for row in rows:
            spot = hash(bytes(names[row * _NAME_BYTES : (row + 1) * _NAME_BYTES])) // _PARTS
            slot = spot & (size - 1)
            while self.slots[slot] != _FREE:
                slot = (slot + 1) & (size - 1)
            self.slots[slot] = row
        self.used = len(rows)


class DueRows:
    """Rows by when they are due. A row may stand here twice, and longer than it is used: whoever takes it looks."""

    def __init__(self) -> None:
        self._buckets: defaultdict[int, array[int]] = defaultdict(lambda: array("i"))
        self._order: list[int] = []

    def add(self, row: int, due_ms: int) -> None:
        """The row is due at that moment."""
        bucket = due_ms >> _BUCKET_BITS
        if bucket not in self._buckets:
            heappush(self._order, bucket)
        self._buckets[bucket].append(row)

    def is_taken(self, due_ms: int, now_ms: int) -> bool:
        """Whether what is due at that moment is taken by now, be it too early."""
        return due_ms >> _BUCKET_BITS <= now_ms >> _BUCKET_BITS

    def take(self, now_ms: int) -> Iterator[int]:
        """Every row that may be due by now, bucket by bucket. Some of the last bucket are not yet: they are to be
        added again."""
        while self._order and self._order[0] <= now_ms >> _BUCKET_BITS:
            yield from self._buckets.pop(heappop(self._order))


def _key(name: str) -> bytes:
    text = name.encode()
    if len(text) > _NAME_BYTES or b"\0" in text:
        return _HASHED + blake2b(text, digest_size=_NAME_BYTES - 1).digest()
    return text.ljust(_NAME_BYTES, b"\0")
