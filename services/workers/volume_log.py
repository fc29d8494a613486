"""What the log of decisions and responses says of volumes: what was handed out, what is held, and what came true."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from decision_engine.identifiers import OfferName
from decision_engine.pacing import HOUR_MS, Period, period_at
from decision_engine.prepared import PreparedStrategy
from decision_engine.strategy import VolumeConstraint
from decision_engine.volume import use_of_offer
from event_schemas.codec import DecodeError, Event, decode
from event_schemas.decisions import DecisionMade, DecisionRecord
from event_schemas.envelope import epoch_ms
from event_schemas.responses import Response, ResponseRecorded
from event_schemas.topics import DECISIONS
from services.ports import Clock, Delivery
from services.workers.log_place import Partition

_TAKEN = {"impression": None, "accept": frozenset({"accept", "convert"})}
"""By what a volume is charged on, the outcomes that take its units for good (None: any)."""
_KEPT_AFTER_MS = HOUR_MS
"""How long after a period's end its units are still counted: a node's clock may be behind."""
_REMEMBERED_DECISIONS = 65_536
"""Decisions by id, some 10 MB, against records that the bus has twice: because an acknowledgement was lost, or a node
was killed before it noted one. Then they come again when another publishes what it left, some ten seconds later."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A hold of units of a pool for a tracked option begins, to be released at its deadline; or (None) came true."""

    tracking_id: str
    pool: str
    units: int
    deadline_ms: int | None


@dataclass(slots=True)
class VolumeBatch:
    """What some records of one partition say."""

    changes: list[Change] = field(default_factory=list)
    handed_out: Counter[str] = field(default_factory=Counter)
    decisions: list[str] = field(default_factory=list)


@dataclass(slots=True)
class VolumeLog:
    """Reads records by one strategy. `pool_of` names the pool of a volume in a period; `note` is told of each decision
    once."""

    prepared: PreparedStrategy
    clock: Clock
    pool_of: Callable[[str, str], str]
    note: Callable[[DecisionRecord], None]
    _noted: dict[Partition, int] = field(default_factory=dict)
    """Up to where decisions were told."""
    _read: dict[str, None] = field(default_factory=dict)
    """The decisions read last."""
    _begins_ms: int | None = None
    """The first moment known of a log whose beginning is not kept any more."""

    def start_over(self) -> None:
        """What comes next may have been read before, and counts all the same."""
        self._read.clear()
        self._begins_ms = None

    def reaches_back(self, period: Period) -> bool:
        """Whether everything the period handed out is in the log."""
        return self._begins_ms is None or (period.start_ms is not None and self._begins_ms <= period.start_ms)

    def remember(self, batch: VolumeBatch) -> None:
        """The batch is in the store: the same decisions count no more."""
        self._read.update(dict.fromkeys(batch.decisions))
        while len(self._read) > _REMEMBERED_DECISIONS:
            del self._read[next(iter(self._read))]

    def note_beginning(self, records: Sequence[Delivery]) -> None:
        """The first records of a partition; where it once had earlier ones, how far back it reaches."""
        if records[0].offset == 0 or records[0].topic != DECISIONS:
            return
        moments = [epoch_ms(e.data.time) for r in records if isinstance(e := _decoded(r), DecisionMade)]
        if moments:
            self._begins_ms = max(min(moments), self._begins_ms or 0)
            _log.warning(
                "decisions before %s are not in the log any more: of a volume whose period began earlier, and that the "
                "store has lost, nothing is given",
                datetime.fromtimestamp(self._begins_ms / 1000, UTC).isoformat(),
                extra={"action": "raise the amount by what is known to be left"},
            )

    def read(self, partition: Partition, records: Sequence[Delivery]) -> VolumeBatch:
        """What records of one partition say."""
        batch, noted = VolumeBatch(), self._noted.get(partition, 0)
        seen: dict[str, None] = {}
        for delivery in records:
            event = _decoded(delivery)
            if isinstance(event, DecisionMade):
                if delivery.offset >= noted:
                    self.note(event.data)
                if event.data.decision_id not in self._read and event.data.decision_id not in seen:
                    seen[event.data.decision_id] = None
                    self._begin(event.data, batch)
            elif isinstance(event, ResponseRecorded):
                batch.changes += self._answered(event.data)
        batch.decisions += seen
        self._noted[partition] = max(noted, records[-1].offset + 1)
        return batch

    def _begin(self, record: DecisionRecord, batch: VolumeBatch) -> None:
        """What a decision handed out, and what of it is held for something still to come."""
        decided_ms, now_ms = epoch_ms(record.time), self.clock.now_ms()
        for placement in record.placements:
            for option in placement.options:
                lapses_ms = decided_ms if option.expires_at is None else epoch_ms(option.expires_at)
                for volume, period, units in self._taken(option.offer, option.treatment, decided_ms):
                    pool = self.pool_of(volume.id, period.name)
                    if period.end_ms is None or period.end_ms > now_ms - _KEPT_AFTER_MS:
                        batch.handed_out[pool] += units
                    if volume.charged_on != "reservation":
                        accept_ms = decided_ms + volume.hold_seconds * 1000
                        deadline_ms = lapses_ms if volume.charged_on == "impression" else accept_ms
                        batch.changes.append(Change(option.tracking_id, pool, units, deadline_ms))

    def _answered(self, response: Response) -> list[Change]:
        return [
            Change(response.tracking_id, self.pool_of(volume.id, period.name), units, None)
            for volume, period, units in self._taken(response.offer, response.treatment, epoch_ms(response.decided_at))
            if volume.charged_on != "reservation"
            and ((outcomes := _TAKEN[volume.charged_on]) is None or response.outcome in outcomes)
        ]

    def _taken(self, offer: str, treatment: str, decided_ms: int) -> list[tuple[VolumeConstraint, Period, int]]:
        """The volumes that an option took units of, with the period and the units."""
        taken = use_of_offer(self.prepared.volumes, OfferName(offer), treatment.split(".")[1])
        found = []
        for volume in self.prepared.strategy.volumes:
            period = period_at(volume, decided_ms, self.prepared.zone)
            if volume.id in taken and period is not None:
                found.append((volume, period, taken[volume.id]))
        return found


def _decoded(delivery: Delivery) -> Event | None:
    """None for what cannot be read: whoever owns the record reports it."""
    if delivery.value is None:
        return None
    try:
        return decode(delivery.value, delivery.headers)
    except DecodeError:
        return None
