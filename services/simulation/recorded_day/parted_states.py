"""Customers' states folded and read part by part, always forward in time: what happened moves its part alone, and what
did not change is not read again."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.features.definitions import Value
from decision_engine.features.fold import fold
from decision_engine.features.record import RecordMemory
from decision_engine.features.snapshot import read_aggregates, read_snapshot, read_windows_of
from decision_engine.features.state import told
from decision_engine.features.update import PositionedUpdate, Update
from services.simulation.recorded_day.customer_events import CustomerEvents
from services.simulation.recorded_day.feature_parts import Holds, PartedFeatures

_HOUR_MS = 3_600_000


@dataclass(slots=True)
class _Part:
    """One part of a customer: its state, and what was read of it when."""

    state: bytes | None = None
    changed: bool = True
    read_at: int = -1
    attributes: Mapping[str, Value] = field(default_factory=dict)
    windows: tuple[int, Mapping[str, Value]] | None = None
    """What its windows tell at a moment, where that was read ahead."""


class _Customer:
    """How far a customer was folded, and what was last read."""

    __slots__ = ("of_record", "parts", "place", "read_at", "record", "snapshot")

    def __init__(self, parts: int) -> None:
        self.place = 0
        self.parts = [_Part() for _ in range(parts)]
        self.read_at = -1
        self.record = RecordMemory()
        self.of_record = UNKNOWN_CUSTOMER
        """What the part with the record tells."""
        self.snapshot = UNKNOWN_CUSTOMER


class PartedStates:
    """Customers by themselves, each asked for ever later moments."""

    def __init__(self, features: PartedFeatures, events: Mapping[str, CustomerEvents]) -> None:
        self._features = features
        self._events = events
        self._known: dict[str, _Customer] = {}
        self._parts_of: dict[str, tuple[int, ...]] = {}
        self.folded = 0
        """Events folded so far."""
        self.unreadable = 0
        """Events that could not be read, and count for nothing, as the state builder sets them aside."""

    def warm(self, customer: str, until_ms: int) -> None:
        """Folds what a customer did before that moment."""
        events = self._events.get(customer)
        if events is not None:
            self._fold(events, self._customer(customer), until_ms)

    def read_ahead(self, asked: Iterable[tuple[str, int]]) -> None:
        """Reads the windows of many customers together, whose snapshots of these moments are asked for next. Raises
        StateUnreadable."""
        waiting: list[list[tuple[_Part, bytes, int]]] = [[] for _ in self._features.parts]
        for customer, now_ms in asked:
            events = self._events.get(customer)
            if events is None:
                continue
            known = self._customer(customer)
            self._fold(events, known, now_ms)
            for number, mine, _ in self._stale(known, now_ms):
                if mine.state is not None:
                    waiting[number].append((mine, mine.state, now_ms))
        for part, theirs in zip(self._features.parts, waiting, strict=True):
            found = read_windows_of(part.features, [(state, now_ms) for _, state, now_ms in theirs])
            for (mine, _, now_ms), windows in zip(theirs, found, strict=True):
                mine.windows = now_ms, windows

    def snapshot(self, customer: str, now_ms: int) -> CustomerSnapshot:
        """The customer as of that moment; the same object while nothing differs. Raises StateUnreadable,
        DecisionEngineError."""
        events = self._events.get(customer)
        if events is None:
            return UNKNOWN_CUSTOMER
        known = self._customer(customer)
        self._fold(events, known, now_ms)
        self._read(known, now_ms)
        return known.snapshot

    def _customer(self, customer: str) -> _Customer:
        known = self._known.get(customer)
        if known is None:
            known = self._known[customer] = _Customer(len(self._features.parts))
        return known

    def _fold(self, events: CustomerEvents, known: _Customer, until_ms: int) -> None:
        """Takes the events up to that moment into the parts that they change."""
        place = bisect_right(events.times, until_ms, known.place)
        if place == known.place:
            return
        waiting: dict[int, list[PositionedUpdate]] = {}
        for number in range(known.place, place):
            update = events.events[number].update()
            if update is None:
                self.unreadable += 1
                continue
            self.folded += 1
            positioned = PositionedUpdate(events.topics[number], number, update)
            for taker in self._takers(update, known, waiting):
                waiting.setdefault(taker, []).append(positioned)
        known.place = place
        for taker, updates in waiting.items():
            part, before = known.parts[taker], known.parts[taker].state
            part.state = fold(self._features.parts[taker].features, before, updates).value
            part.windows = None
            # Of the part with the record a snapshot has the newest event's time as well.
            part.changed |= taker == 0 or before is None or told(before) != told(part.state)

    def _takers(self, update: Update, known: _Customer, waiting: Mapping[int, object]) -> tuple[int, ...]:
        """The parts that an event changes. The first of all makes the customer known, whatever it is."""
        takers = self._parts_of.get(update.source)
        if takers is None:
            parts = self._features.parts
            takers = tuple(number for number, part in enumerate(parts) if update.source in part.sources)
            self._parts_of[update.source] = takers
        first = known.parts[0].state is None and 0 not in waiting and 0 not in takers
        return (0, *takers) if first else takers

    def _stale(self, known: _Customer, now_ms: int) -> Iterator[tuple[int, _Part, int]]:
        """The parts that changed or have run out, each with its number and what it will hold for."""
        times = (now_ms, now_ms // _HOUR_MS, self._features.whole.day_of(now_ms))
        for number, (part, mine) in enumerate(zip(self._features.parts, known.parts, strict=True)):
            until = times[part.holds]
            if part.holds is Holds.HOUR:
                until = until << 20 | times[Holds.DAY]  # local days need not begin with an hour
            if mine.changed or (mine.read_at != until and mine.state is not None):
                yield number, mine, until

    def _read(self, known: _Customer, now_ms: int) -> None:
        """Reads the parts that changed or have run out, and puts all together if there was one."""
        stale = self._features.holds is Holds.MOMENT and known.read_at != now_ms
        for number, mine, until in self._stale(known, now_ms):
            features = self._features.parts[number].features
            windows = mine.windows[1] if mine.windows is not None and mine.windows[0] == now_ms else None
            if number == 0:
                known.of_record = read_snapshot(features, mine.state, now_ms, known.record, windows)
            elif mine.state is None:
                mine.attributes = features.readings.defaults
            else:
                mine.attributes = read_aggregates(features, mine.state, now_ms, windows)
            mine.changed, mine.read_at, mine.windows, stale = False, until, None, True
        if stale:
            known.snapshot = self._combined(known, now_ms)
            known.read_at = now_ms

    def _combined(self, known: _Customer, now_ms: int) -> CustomerSnapshot:
        """The snapshot of all parts, what is derived included. Its newest event is that of the record."""
        of_record = known.of_record
        if not of_record.known:
            return of_record
        attributes = dict(of_record.attributes)
        for part in known.parts[1:]:
            attributes.update(part.attributes)
        self._features.whole.derive(attributes, of_record.holdings, now_ms)
        return CustomerSnapshot(
            known=True,
            attributes=attributes,
            holdings=of_record.holdings,
            consents=of_record.consents,
            newest_event_ms=of_record.newest_event_ms,
        )
