"""One firing on its way from the trigger memory to the outbound topic."""

from dataclasses import dataclass

from decision_engine.customer import CustomerSnapshot
from decision_engine.identifiers import CustomerId
from decision_engine.triggers.definitions import Contact, Trigger
from decision_engine.triggers.firing import Contacted, Firing
from services.ports import OutgoingEvent
from services.use_cases.firing_notes import Held, Note


@dataclass(frozen=True, slots=True)
class Watched:
    """A customer whose triggers have something to do, and the number of the partition that all of the customer's
    events are in. `arrived_ms` is when the first of the events in hand reached the bus (epoch milliseconds); None where
    it was no event but the clock."""

    customer_id: CustomerId
    partition: int
    arrived_ms: int | None = None
    fired: frozenset[str] = frozenset()
    """Firings that have just come about here, so that nobody can have tried them before."""


@dataclass(slots=True)
class Case:
    """A pending firing, what was noted with it, and what has become of it so far.

    Deciding sets exactly one of: `contacted` (it is over: with an `event`, that is to be published), and `held` (not
    now). Neither means that it could not be decided and stays as it is. `outcome` is its name in the metrics.
    """

    customer: Watched
    trigger: Trigger
    firing: Firing
    note: Note | None
    snapshot: CustomerSnapshot
    outcome: str = "failed"
    decision_id: str | None = None
    """The decision made, whatever came of it."""
    contacted: Contacted | None = None
    event: OutgoingEvent | None = None
    held: Held | None = None

    @property
    def customer_id(self) -> CustomerId:
        """Whose it is."""
        return self.customer.customer_id

    @property
    def contact(self) -> Contact:
        """Where its wave decides."""
        return contact_of(self.trigger, self.firing.wave)

    @property
    def attempt(self) -> str:
        """The request id of its decision: the firing's own, and another one each time it was held back, for the
        answer to the first is that it is not the time."""
        return f"{self.firing.id}.{self.note.until_ms}" if isinstance(self.note, Held) else self.firing.id

    @property
    def is_first_attempt(self) -> bool:
        """Whether nobody can have decided it before."""
        return self.note is None and self.firing.id in self.customer.fired

    def end(self, outcome: str, contacted: Contacted, event: OutgoingEvent | None = None) -> None:
        """It is over once the event, if any, is published."""
        self.outcome, self.contacted, self.event = outcome, contacted, event

    def hold(self, outcome: str, until_ms: int) -> None:
        """It is decided again at that moment."""
        self.outcome, self.held = outcome, Held(until_ms)


def contact_of(trigger: Trigger, wave: int) -> Contact:
    """Where a wave of the trigger decides; 0 is the first contact."""
    return trigger.contact if wave == 0 else trigger.waves[wave - 1].contact
