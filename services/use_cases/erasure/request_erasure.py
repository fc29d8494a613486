"""Asking for a person to be erased, and how far it has come."""

from dataclasses import dataclass
from typing import Protocol

from decision_engine.identifiers import CustomerId
from event_schemas.codec import encode
from event_schemas.envelope import from_epoch_ms
from event_schemas.profile import CustomerErased, Erasure
from event_schemas.topics import PROFILE_UPDATES
from services.ports import Clock, EventPublisher, IdFactory, OutgoingEvent, ShellError
from services.use_cases.erasure.proofs import PLACES, Performed
from services.use_cases.erasure.proofs import Erasure as KnownErasure
from services.use_cases.erasure.pseudonyms import Pseudonyms
from services.use_cases.wire_time import rfc3339


class ErasureUnknown(ShellError):
    """Nobody asked for such an erasure, or it is told of no more."""


class ErasureNotSetUp(ShellError):
    """KAIROS_PSEUDONYM_KEY is not set: without it an erasure cannot be remembered without remembering the person."""


class ErasureProgress(Protocol):
    """How far erasures have come, by pseudonym. Raises StoreUnavailable."""

    async def requested(self, person: str, erased_ms: int) -> None: ...

    async def progress(self, person: str) -> KnownErasure | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestErasure:
    """Publishes the act under the customer's own key, where it stands in order with everything about them; the roles
    that own data act on it."""

    publisher: EventPublisher
    progress: ErasureProgress
    pseudonyms: Pseudonyms
    clock: Clock
    ids: IdFactory

    async def __call__(self, customer_id: CustomerId, source: str) -> str:
        """The pseudonym under which progress and proof are told. Returns when the bus has the act. Raises
        BusUnavailable, StoreUnavailable."""
        now_ms, person = self.clock.now_ms(), self.pseudonyms.of(customer_id)
        event = CustomerErased(
            id=f"erasure-{self.ids.new_id()}",
            source=source,
            subject=customer_id,
            time=from_epoch_ms(now_ms),
            data=Erasure(request_id=person),
        )
        await self.progress.requested(person, now_ms)
        await self.publisher.publish([OutgoingEvent(topic=PROFILE_UPDATES, key=customer_id, value=encode(event))])
        return person

    async def status(self, person: str) -> dict[str, object]:
        """How far it has come. Raises ErasureUnknown, StoreUnavailable."""
        erasure = await self.progress.progress(person)
        if erasure is None:
            raise ErasureUnknown
        return erasure_view(person, erasure)


def erasure_view(person: str, erasure: KnownErasure) -> dict[str, object]:
    """The erasure in the words of the API: `running` until nothing is left in any place."""
    return {
        "erasure_id": person,
        "status": "done" if erasure.done else "running",
        "erased_at": rfc3339(erasure.erased_ms),
        "places": [_place(name, erasure.places.get(name)) for name in PLACES],
    }


def _place(name: str, performed: Performed | None) -> dict[str, object]:
    if performed is None:
        return {"place": name, "status": "waiting", "at": None, "removed": {}, "left": None}
    return {
        "place": name,
        "status": "running" if performed.left else "done",
        "at": rfc3339(performed.at_ms),
        "removed": dict(performed.removed),
        "left": performed.left,
    }
