"""The chain of governance acts: every act names the hash of the one before, and the log says which came first.

The acts stand in one partition of the control topic, under keys of their own, so that compaction removes none. An act
takes effect only if it follows the last one that did. One that follows an earlier one lost a race: it is void. One that
follows none that is known tells that an act was changed, removed, moved or put in: the chain is broken there.

Acts without effect are held fast, too: each act says how many records its writer had read, and one hash over them all.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import get_args

from event_schemas.codec import DecodeError, Event, decode, encode
from event_schemas.control import (
    ChainedAct,
    DataExported,
    KillSwitchSet,
    StrategyActivated,
    StrategyApproved,
    StrategyDeclined,
    StrategyRetired,
    StrategyRolledBack,
    StrategySimulated,
    StrategySubmitted,
)
from event_schemas.topics import CONTROL
from services.ports import Delivery, OutgoingEvent

ChainedEvent = (
    StrategySubmitted
    | StrategySimulated
    | StrategyApproved
    | StrategyDeclined
    | StrategyActivated
    | StrategyRolledBack
    | StrategyRetired
    | KillSwitchSet
    | DataExported
)
"""What stands in the chain."""
CHAINED_TYPES = frozenset(str(each.model_fields["type"].default) for each in get_args(ChainedEvent))
SUBMITTED = "nbo.control.strategy.submitted"
CHAIN_PARTITION = 0
"""One partition has one order; every topic has this one."""
GENESIS = sha256(b"kairos governance chain, version 1").hexdigest()
"""What the first act follows."""
_KEY = "act:"


class Verdict(StrEnum):
    """What became of a record of the chain."""

    VALID = "valid"
    VOID = "void"
    """It lost a race, or was written twice: without effect, and nothing wrong."""
    BROKEN = "broken"
    """It cannot be read, or follows nothing known: without effect, and the log is not what it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A record of the chain and what became of it."""

    record: int
    """Counts the records of the chain from 1, whatever became of them."""
    sequence: int
    """Counts the acts that took effect from 1; of one that did not, the number of the last that did."""
    hash: str
    """SHA-256 of the record's bytes, hexadecimal."""
    verdict: Verdict
    event: ChainedEvent | None = None
    """None for a record that cannot be read."""
    reason: str | None = None
    """Why it is not valid; of a valid one, what is wrong with the records before it."""

    @property
    def faulty(self) -> bool:
        """Whether it shows that the log is not what it was."""
        return self.verdict is Verdict.BROKEN or (self.verdict is Verdict.VALID and self.reason is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How far a chain goes. Kept apart from the log, it tells when the last acts are missing."""

    sequence: int
    hash: str
    records: int
    records_hash: str


NOTHING = Head(sequence=0, hash=GENESIS, records=0, records_hash=GENESIS)
"""The head of an empty chain."""


@dataclass(slots=True)
class Chain:
    """Reads the records of a chain in the order of the log."""

    _links: list[str] = field(default_factory=lambda: [GENESIS])
    """Hashes of the acts that took effect; the position is the sequence."""
    _known: set[str] = field(default_factory=lambda: {GENESIS})
    _records: list[str] = field(default_factory=lambda: [GENESIS])
    """For each number of records one hash over them."""

    @property
    def head(self) -> Head:
        """Where the next act goes."""
        return Head(
            sequence=len(self._links) - 1,
            hash=self._links[-1],
            records=len(self._records) - 1,
            records_hash=self._records[-1],
        )

    def take(self, value: bytes | None) -> Link:
        """The next record, judged. None is a record whose content was deleted."""
        digest = act_hash(value or b"")
        event, why = _chained(value)
        verdict, reason = (Verdict.BROKEN, why) if event is None else self._judged(event.data)
        self._records.append(_over(self._records[-1], digest))
        if verdict is Verdict.VALID:
            self._links.append(digest)
            self._known.add(digest)
        return Link(
            record=len(self._records) - 1,
            sequence=len(self._links) - 1,
            hash=digest,
            verdict=verdict,
            event=event,
            reason=reason,
        )

    def _judged(self, act: ChainedAct) -> tuple[Verdict, str | None]:
        before = act.previous_hash
        if before == self._links[-1]:
            return Verdict.VALID, self._fault(act)
        if before in self._known:
            return Verdict.VOID, "another act came between"
        return Verdict.BROKEN, "it follows an act that is not in this log: one was changed, removed, moved or put in"

    def _fault(self, act: ChainedAct) -> str | None:
        """What its writer had read must be what stands before it now."""
        count = act.records
        if count is None or count >= len(self._records) or self._records[count] != act.records_hash:
            return "records before it are not those that its writer had read"
        return None

    def contradiction(self, kept: Head) -> str | None:
        """What a head that was kept apart says against this chain; None where they agree."""
        if kept.sequence >= len(self._links):
            missing = kept.sequence - len(self._links) + 1
            return f"the last {missing} acts are missing: there were {kept.sequence}, the last {kept.hash}"
        if self._links[kept.sequence] != kept.hash:
            return f"act {kept.sequence} was {kept.hash} and is {self._links[kept.sequence]}"
        if kept.records >= len(self._records) or self._records[kept.records] != kept.records_hash:
            return f"the first {kept.records} records of the chain are not what they were"
        return None

    def holds(self, digest: str) -> bool:
        """Whether an act of this hash took effect (the beginning counts)."""
        return digest in self._known


def act_hash(value: bytes) -> str:
    """What the next act names this one by."""
    return sha256(value).hexdigest()


def is_chained(delivery: Delivery) -> bool:
    """Whether a record of the control topic belongs to the chain."""
    key = delivery.key or b""
    return delivery.topic == CONTROL and delivery.partition == CHAIN_PARTITION and key.startswith(_KEY.encode())


def chained_record(event: ChainedEvent) -> OutgoingEvent:
    """The act as it goes to the log."""
    return OutgoingEvent(topic=CONTROL, key=f"{_KEY}{event.id}", value=encode(event), partition=CHAIN_PARTITION)


def _chained(value: bytes | None) -> tuple[ChainedEvent | None, str | None]:
    if value is None:
        return None, "its content was deleted"
    try:
        event: Event = decode(value)
    except DecodeError as error:
        return None, f"it cannot be read: {error}"
    if not isinstance(event, ChainedEvent):
        return None, f"{event.type} is no act of governance"
    return event, None


def _over(before: str, digest: str) -> str:
    return sha256(f"{before}{digest}".encode()).hexdigest()
