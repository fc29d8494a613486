"""What the bus tells of erasures: that one began, and what was removed where. No id stands in it."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from event_schemas.codec import DecodeError, decode, encode
from event_schemas.envelope import epoch_ms, from_epoch_ms
from event_schemas.erasures import ErasureBegun, ErasurePerformed, ErasureProof, ErasureStart
from event_schemas.topics import ERASURES
from services.ports import Delivery, EventPublisher, IdFactory, OutgoingEvent

STORE, ARCHIVE, SNAPSHOTS = "store", "archive", "snapshots"
PLACES = (STORE, ARCHIVE, SNAPSHOTS)
"""Where a person's data is kept; an erasure is done when each has been gone through and nothing was left."""
_POLL_RECORDS, _POLL_SECONDS, _SILENT_POLLS = 5_000, 0.3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """One place was gone through at `at_ms`, for an erasure of everything up to `erased_ms`."""

    place: str
    erased_ms: int
    at_ms: int
    removed: Mapping[str, int]
    left: int = 0


@dataclass(slots=True)
class Erasure:
    """What is known of a person's erasure: up to when, and the last account of each place."""

    erased_ms: int
    begun_ms: int = 0
    places: dict[str, Performed] = field(default_factory=dict)

    def take(self, performed: Performed) -> None:
        """Of several accounts of one erasure the numbers add up: what one look left, another has removed."""
        if performed.erased_ms < self.erased_ms:
            return
        before = self.places.get(performed.place)
        removed = Counter(performed.removed)
        if before is not None and before.erased_ms == performed.erased_ms:
            removed.update(before.removed)
        self.places[performed.place] = Performed(
            place=performed.place,
            erased_ms=performed.erased_ms,
            at_ms=performed.at_ms,
            removed=dict(sorted(removed.items())),
            left=performed.left,
        )

    @property
    def done(self) -> bool:
        """Whether nothing of the person is left anywhere."""
        return all(place in self.places and not self.places[place].left for place in PLACES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """Publishes what becomes of erasures. `source` names the role."""

    publisher: EventPublisher
    ids: IdFactory
    source: str

    async def begun(self, erased: Mapping[str, int], now_ms: int) -> None:
        """Persons (pseudonym to epoch milliseconds) are being erased. Raises BusUnavailable."""
        await self.publisher.publish([
            self._outgoing(
                ErasureBegun(
                    id=self.ids.new_id(),
                    source=self.source,
                    subject=person,
                    time=from_epoch_ms(now_ms),
                    data=ErasureStart(erased_at=from_epoch_ms(at_ms)),
                )
            )
            for person, at_ms in erased.items()
        ])  # fmt: skip

    async def performed(self, accounts: Sequence[tuple[str, Performed]]) -> None:
        """Places were gone through, for persons by their pseudonyms. Raises BusUnavailable."""
        await self.publisher.publish([
            self._outgoing(
                ErasurePerformed(
                    id=self.ids.new_id(),
                    source=self.source,
                    subject=person,
                    time=from_epoch_ms(account.at_ms),
                    data=ErasureProof(
                        erased_at=from_epoch_ms(account.erased_ms),
                        place=account.place,
                        removed=dict(account.removed),
                        left=account.left,
                    ),
                )
            )
            for person, account in accounts
        ])  # fmt: skip

    @staticmethod
    def _outgoing(event: ErasureBegun | ErasurePerformed) -> OutgoingEvent:
        return OutgoingEvent(topic=ERASURES, key=event.subject, value=encode(event))


def note(known: dict[str, Erasure], value: bytes | None) -> None:
    """Takes one record of the topic into what is known, by pseudonym; what cannot be read says nothing."""
    try:
        event = decode(value or b"")
    except DecodeError:
        return
    if isinstance(event, ErasureBegun | ErasurePerformed):
        erased_ms, at_ms = epoch_ms(event.data.erased_at), epoch_ms(event.time)
        standing = known.get(event.subject)
        if standing is None or standing.erased_ms < erased_ms:
            standing = known[event.subject] = Erasure(erased_ms, at_ms)
        if isinstance(event, ErasurePerformed):
            data = event.data
            standing.take(
                Performed(place=data.place, erased_ms=erased_ms, at_ms=at_ms, removed=data.removed, left=data.left)
            )


class LogReader(Protocol):
    """A reader of all partitions of the topic, from its beginning. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    async def end_offsets(self) -> Mapping[tuple[str, int], int]: ...


async def read_proofs(log: LogReader) -> dict[str, Erasure]:
    """Everything the topic tells, by pseudonym. Raises BusUnavailable."""
    known: dict[str, Erasure] = {}
    async for deliveries in _whole(log):
        for delivery in deliveries:
            note(known, delivery.value)
    return known


async def _whole(log: LogReader) -> AsyncIterator[list[Delivery]]:
    """Up to the end as it was, and what came meanwhile: an embedded broker understates its end."""
    behind = {partition: end for partition, end in (await log.end_offsets()).items() if end}
    silent = 0
    while behind or silent < _SILENT_POLLS:
        deliveries = await log.poll(_POLL_RECORDS, _POLL_SECONDS)
        silent = 0 if deliveries else silent + 1
        yield deliveries
        for delivery in deliveries:
            partition = (delivery.topic, delivery.partition)
            if delivery.offset + 1 >= behind.get(partition, delivery.offset + 2):
                del behind[partition]
        if silent > 20 * _SILENT_POLLS:
            return  # everything up to the end has been removed by retention
