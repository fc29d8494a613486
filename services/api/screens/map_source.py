"""Snapshots as the map shows them: read and asked off the event loop, each kept while nothing has changed."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import date

from decision_engine.features.definitions import AttributeType, Value
from decision_engine.strategy import Strategy
from services.use_cases.customer_map.segmented import VALUES, SegmentConditions, Segmented, segmented
from services.use_cases.customer_map.shelf import SnapshotShelf

_KEPT = 6
_AT_ONCE = 1
"""Readings at a time: each is plain Python over all customers."""
_NUMBERS = (AttributeType.INT, AttributeType.DOUBLE)


class MapSource:
    """Segmented snapshots by day, strategy version and attribute of worth."""

    def __init__(self, shelf: SnapshotShelf) -> None:
        self._shelf = shelf
        self._kept: OrderedDict[tuple[object, ...], Segmented] = OrderedDict()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def days(self) -> list[date]:
        """The days there are snapshots of, in order."""
        return await asyncio.to_thread(self._shelf.days)

    async def segmented(self, strategy: Strategy, day: date, value: str | None) -> Segmented:
        """The snapshot of a day. Raises SnapshotUnreadable."""
        async with self._slots:
            stamp = await asyncio.to_thread(self._shelf.stamp, day)
            key = (day, stamp, strategy.version, value)
            if key not in self._kept:
                self._kept[key] = await asyncio.to_thread(self._read, strategy, day, value)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    async def attributes(
        self, day: date, customers: Sequence[str], names: Sequence[str]
    ) -> Mapping[str, Mapping[str, Value]]:
        """These attributes of these customers, who are in the snapshot. Raises SnapshotUnreadable."""
        return await asyncio.to_thread(self._attributes, day, frozenset(customers), tuple(names))

    async def available(self, strategy: Strategy, day: date) -> list[str]:
        """The attributes of the snapshot that may leave the bank's core: those the strategy declares and does not call
        sensitive."""
        names = await asyncio.to_thread(self._shelf.attributes, day)
        known = strategy.dictionary
        return [name for name in names if name in known and not known[name].sensitive]

    def _read(self, strategy: Strategy, day: date, value: str | None) -> Segmented:
        conditions = SegmentConditions.of(strategy)
        names = conditions.names | ({value} if value else set())
        return segmented(self._shelf.read(day, names), conditions, value)

    def _attributes(self, day: date, customers: frozenset[str], names: Sequence[str]) -> dict[str, dict[str, Value]]:
        snapshot = self._shelf.read(day, names)
        columns = [(name, snapshot.columns[name]) for name in names if name in snapshot.columns]
        return {
            customer: {name: known for name, column in columns if (known := column[row]) is not None}
            for row, customer in enumerate(snapshot.customers)
            if customer in customers
        }


def worth(strategy: Strategy, wanted: str | None) -> str | None:
    """The attribute that says what a customer is worth: the one asked for, or the first usual one there is."""
    numbers = worths(strategy)
    if wanted in numbers:
        return wanted
    return next((name for name in VALUES if name in numbers), None)


def worths(strategy: Strategy) -> list[str]:
    """Numbers that are not sensitive."""
    return [name for name, info in strategy.dictionary.items() if info.type in _NUMBERS and not info.sensitive]
