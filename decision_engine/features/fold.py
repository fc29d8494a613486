"""The fold: state x events -> state, the only meaning of every feature.

Pure: the same bytes and the same updates always give the same bytes. The order of events does not matter to what a
snapshot tells, as long as none is older than the longest window; nor does it matter how they are batched, or that
some arrive twice.
"""

from collections.abc import Sequence
from struct import error as StructError  # noqa: N812 - the library's name is lower case
from typing import NamedTuple

from decision_engine.errors import StateUnreadable
from decision_engine.features.buckets import add_edges, add_totals, prune
from decision_engine.features.calendar_units import Now, bucket_of
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.distinct_values import add_distinct
from decision_engine.features.effects import Effect
from decision_engine.features.local_days import EARLIEST_MS, LATEST_MS, hour_of
from decision_engine.features.record import ANY_ACCOUNT, Record, read_record, write_record
from decision_engine.features.remembered import Remembered, read_remembered, write_remembered
from decision_engine.features.slots import set_slot
from decision_engine.features.state import State, decode_state, encode_state
from decision_engine.features.tallies import Tallies, read_tallies, write_tallies
from decision_engine.features.tally_fold import Taking, sweep, take
from decision_engine.features.update import PositionedUpdate, Update

PROFILE_UPDATED = "bank.profile.updated"
CONSENT_CHANGED = "bank.consent.changed"
CUSTOMER_ERASED = "bank.customer.erased"
PRODUCT_OPENED = "bank.product.opened"
PRODUCT_CLOSED = "bank.product.closed"
_RECORDED = frozenset({PROFILE_UPDATED, CONSENT_CHANGED, PRODUCT_OPENED, PRODUCT_CLOSED})

ERASED_PURPOSES = ("marketing", "personalisation")
"""Refused for an erased customer even if no consent had ever been recorded."""
_PRUNE_DAYS = 8
"""Rows outside every window are swept when the newest event enters another stretch of so many days."""
_TOPIC_SHIFT = 56
_KEY_MASK = (1 << _TOPIC_SHIFT) - 1
"""A remembered event key gives its highest byte to the number of the topic: what one topic brings pushes out nothing of
another, so that the same repeats are found in whatever order topics are read."""


class Folded(NamedTuple):
    """The new state and what became of the updates.

    `applied` events are in the state. `repeated` stood at or before the position the state had been folded to;
    `duplicates` had a remembered event key; `late` were older than the longest window, so only whole-life features
    took them; `refused` concerned an erased customer. `changed` is False when the value is the one given.
    """

    value: bytes
    applied: int
    repeated: int
    duplicates: int
    late: int
    refused: int
    changed: bool


def fold(features: CompiledFeatures, state: bytes | None, updates: Sequence[PositionedUpdate]) -> Folded:
    """Applies the updates in the order given. Raises StateUnreadable when the state is of another layout or damaged."""
    folding = _Folding(features, State() if state is None else decode_state(state, features.layout_bytes))
    try:
        for update in updates:
            folding.take(update)
        changed = folding.repeated < len(updates)
        value = folding.encoded() if changed or state is None else state
    except (LookupError, TypeError, StructError) as cause:  # checked events alone raise none of these
        raise StateUnreadable("the stored state is damaged") from cause
    return Folded(value, folding.applied, folding.repeated, folding.duplicates, folding.late, folding.refused, changed)


def erased_state(features: CompiledFeatures, at_ms: int) -> bytes:
    """The state of who was erased at that moment (epoch milliseconds) and of whom nothing is stored: what comes is
    folded onto it, so that nothing from before comes back."""
    folding = _Folding(features, State())
    folding.erase(at_ms)
    return folding.encoded()


class _Folding:
    """A state being changed; documents are read when the first event touches them."""

    __slots__ = (
        "_features",
        "_newest_day",
        "_record",
        "_remembered",
        "_state",
        "_tallies",
        "applied",
        "duplicates",
        "late",
        "refused",
        "repeated",
    )

    def __init__(self, features: CompiledFeatures, state: State) -> None:
        self._features, self._state = features, state
        self._record: Record | None = None
        self._remembered: Remembered | None = None
        self._tallies: Tallies | None = None
        self._newest_day = features.day_of(state.newest_ms) if state.newest_ms >= EARLIEST_MS else None
        self.applied = self.repeated = self.duplicates = self.late = self.refused = 0

    def encoded(self) -> bytes:
        """The state as bytes, its write counter one higher."""
        state, features = self._state, self._features
        if self._record is not None:
            state.record = write_record(self._record, features.stored.profile)
        if self._remembered is not None:
            state.remembered = write_remembered(self._remembered)
        if self._tallies is not None:
            state.tallies = write_tallies(self._tallies)
        state.version += 1
        return encode_state(state, features.layout_bytes, features.signature_width)

    def take(self, positioned: PositionedUpdate) -> None:
        """Moves the position; applies the event unless it has been seen."""
        state = self._state
        topic, offset, update = positioned
        positions, memory = state.positions, state.memory
        while len(positions) <= topic:
            positions.append(-1)
        if offset <= positions[topic]:
            self.repeated += 1
            return
        positions[topic] = offset
        key = update.event_key & _KEY_MASK | topic << _TOPIC_SHIFT
        at = memory.tobytes().find(key.to_bytes(8, "little"))  # much faster than comparing number by number
        if at >= 0 and (not at & 7 or key in memory):
            self.duplicates += 1
            return
        if (most := self._features.duplicate_memory) > 0:
            memory.append(key)
            if len(memory) > most:
                topics = memory.tobytes()[7::8]
                if topics.count(topic) > most:
                    del memory[topics.index(topic)]
        if not EARLIEST_MS < update.time_ms < LATEST_MS:
            self.late += 1
        elif self._admitted(update):
            self._apply(update)

    def _admitted(self, update: Update) -> bool:
        """Nothing is kept of an erased customer until a consent is granted anew, and nothing from before ever."""
        state = self._state
        if update.source == CUSTOMER_ERASED:
            self.erase(update.time_ms)
            self.applied += 1
            return False
        if update.time_ms <= state.erased_ms:
            self.refused += 1
            return False
        if state.erased:
            if update.source != CONSENT_CHANGED or update.fields.get("granted") is not True:
                self.refused += 1
                return False
            state.erased = False
        return True

    def erase(self, time_ms: int) -> None:
        """Forgets the person, up to that moment."""
        state = self._state
        purposes = {*self._records().consents, *ERASED_PURPOSES}
        state.clear()
        state.erased = True
        state.erased_ms = max(state.erased_ms, time_ms)
        state.newest_ms = max(state.newest_ms, time_ms)
        self._newest_day = self._features.day_of(state.newest_ms)
        self._record = Record(consents=dict.fromkeys(sorted(purposes), (state.erased_ms, False)))
        self._remembered = self._tallies = None

    def _apply(self, update: Update) -> None:
        features, time_ms = self._features, update.time_ms
        day = features.day_of(time_ms)
        newest = self._advance(time_ms, day)
        if update.source in _RECORDED:
            self._change_record(update)
        plan = features.plans.get(update.source)
        if plan is None:
            self.applied += 1
            return
        effect = plan.effect(update.fields, time_ms)
        late = plan.windowed and day <= newest - features.late_days
        if late:
            self.late += 1
        else:
            self.applied += 1
            self._add_buckets(effect, update, day, newest)
        if effect.tallies is not None:
            taking = Taking(update, day, Now(self._state.newest_ms, newest), features.hour_of_day)
            take(self._own_tallies(), effect.tallies, taking, late=late)
        for slot in effect.slots:
            set_slot(self._state, slot, update, self._texts)
        for seen in effect.seen:
            add_distinct(self._state, seen, 0, 0, update.fields[seen.field])

    def _advance(self, time_ms: int, day: int) -> int:
        """The newest local day, this event's included; sweeps old rows when it has moved far enough."""
        state, before = self._state, self._newest_day
        if time_ms > state.newest_ms:  # noqa: PLR1730 - a call for every event costs more
            state.newest_ms = time_ms
        if before is None:
            self._newest_day = day
            return day
        if day > before:
            self._newest_day = day
            if day // _PRUNE_DAYS != before // _PRUNE_DAYS:
                prune(state, self._features.stored, day, hour_of(state.newest_ms))
                if state.tallies or self._tallies is not None:
                    sweep(self._own_tallies(), self._features.stored.tallies, Now(state.newest_ms, day))
            return day
        return before

    def _add_buckets(self, effect: Effect, update: Update, day: int, newest: int) -> None:
        state, hour = self._state, hour_of(update.time_ms)
        newest_hour = hour_of(state.newest_ms)
        for row in effect.totals:
            bucket, latest = (hour, newest_hour) if row.hourly else (day, newest)
            if bucket > latest - row.keep:
                add_totals(state, row, bucket, update)
        for entry in effect.distinct:
            bucket, latest = self._buckets_of(entry.unit, update.time_ms, day, newest)
            add_distinct(state, entry, bucket, latest - entry.keep + 1, update.fields[entry.field])
        for entry in effect.edges:
            bucket, latest = self._buckets_of(entry.unit, update.time_ms, day, newest)
            add_edges(self._texts(), entry, bucket, latest - entry.keep + 1, update)

    def _buckets_of(self, unit: str, time_ms: int, day: int, newest: int) -> tuple[int, int]:
        """The bucket of an event and that of the newest one."""
        return bucket_of(unit, time_ms, day), bucket_of(unit, self._state.newest_ms, newest)

    def _change_record(self, update: Update) -> None:
        record, fields = self._records(), update.fields
        product, account = fields.get("product"), fields.get("account_id", ANY_ACCOUNT)
        match update.source:
            case "bank.profile.updated":
                record.set_attributes(update.attributes, self._features.profile_types, update.time_ms)
            case "bank.consent.changed":
                record.set_consent(str(fields["purpose"]), update.time_ms, granted=fields["granted"] is True)
            case "bank.product.opened":
                record.open_product(str(product), str(account), update.time_ms)
            case _:
                record.close_product(str(product), str(account), update.time_ms)

    def _records(self) -> Record:
        if self._record is None:
            self._record = read_record(self._state.record, self._features.stored.profile)
        return self._record

    def _texts(self) -> Remembered:
        if self._remembered is None:
            self._remembered = read_remembered(self._state.remembered)
        return self._remembered

    def _own_tallies(self) -> Tallies:
        if self._tallies is None:
            self._tallies = read_tallies(self._state.tallies)
        return self._tallies
