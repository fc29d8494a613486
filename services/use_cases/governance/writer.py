"""Writing an act: it is published behind the newest one and read back; only the log says whether it was in time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from event_schemas.codec import MAX_RECORD_BYTES, encode
from event_schemas.control import StrategyDrafted
from event_schemas.topics import CONTROL
from services.ports import BusUnavailable, EventPublisher, IdFactory, OutgoingEvent, ShellError
from services.use_cases.governance.chain import ChainedEvent, Head, Verdict, chained_record
from services.use_cases.governance.fold import Taken, due
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.governance.rules import refusal
from services.use_cases.governance.state import GovernanceState

Compose = Callable[[GovernanceState, str], ChainedEvent]
"""The act as the state at that moment asks for it, under this event id. Raises ActRefused."""
_ATTEMPTS = 8
READ_BACK_SECONDS = 10.0


class ActRefused(ShellError):
    """The act is against the rules; nothing was published."""


class ActInvalid(ActRefused):
    """A field of the act is not valid."""


class ActOvertaken(ActRefused):
    """Other acts came first, time after time."""


class HeadKeeper(Protocol):
    """Keeps how far the chain goes, apart from the log. Raises StoreUnavailable."""

    async def keep(self, head: Head, at: datetime) -> None:
        """Never goes back to fewer acts."""
        ...

    async def kept(self) -> Head | None: ...


OnHead = Callable[[Head], Awaitable[None]]


async def _not_kept(_: Head) -> None:
    """Nobody keeps the head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainWriter:
    """Puts acts at the end of the chain, one at a time. `on_head` is told of each new end, to be kept apart."""

    log: GovernanceLog
    publisher: EventPublisher
    ids: IdFactory
    on_head: OnHead = _not_kept
    read_back_s: float = READ_BACK_SECONDS
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def write(self, compose: Compose) -> Taken:
        """Returns when the act has taken effect. Where another act came between, the act is composed anew for the
        state as it is then. Raises ActRefused, naming what came between; BusUnavailable, when it is not known whether
        the act will be taken."""
        between: list[str] = []
        async with self._turn:
            for _ in range(_ATTEMPTS):
                event = self._composed(compose, between)
                taken = await self._published(event, chained_record(event))
                if taken.effective:
                    await self.on_head(taken.state.head)
                    return taken
                if taken.link is None or taken.link.verdict is not Verdict.VOID:
                    raise ActRefused(taken.refused or (taken.link.reason if taken.link else None) or "it was not taken")
                between.append(_newest(taken.state))
        raise ActOvertaken(f"{event.type} {event.subject}: {_ATTEMPTS} times another act came first: {between[-1]}")

    def _composed(self, compose: Compose, between: list[str]) -> ChainedEvent:
        state, head = due(self.log.state, self.now()), self.log.head
        with valid_fields():
            event = compose(state, self.ids.new_id())
        chained = {"previous_hash": head.hash, "records": head.records, "records_hash": head.records_hash}
        event = event.model_copy(update={"data": event.data.model_copy(update=chained)})
        why = refusal(state, event)
        if why is not None:
            raise ActRefused(f"{why} (meanwhile: {'; '.join(between)})" if between else why)
        return event

    async def write_loose(self, event: StrategyDrafted) -> Taken:
        """A draft, which stands outside of the chain. Returns when it has come back. Raises BusUnavailable."""
        return await self._published(event, OutgoingEvent(topic=CONTROL, key=event.subject, value=encode(event)))

    async def _published(self, event: ChainedEvent | StrategyDrafted, record: OutgoingEvent) -> Taken:
        if len(record.value) > MAX_RECORD_BYTES:
            raise ActRefused(
                f"{event.type} {event.subject}: {len(record.value):,} bytes are more than the {MAX_RECORD_BYTES:,} an "
                "act may have: a strategy of this size has to be split"
            )
        back = self.log.expect(event.id)
        try:
            await self.publisher.publish([record])
            async with asyncio.timeout(self.read_back_s):
                return await back
        except TimeoutError as error:
            raise BusUnavailable(
                f"{event.type} {event.subject} was published and has not come back within {self.read_back_s:g} s; "
                "look at the history before you do it again"
            ) from error
        finally:
            self.log.forget(event.id)


@contextmanager
def valid_fields() -> Iterator[None]:
    """What an event's fields do not allow is refused by name. Raises ActInvalid."""
    try:
        yield
    except ValidationError as error:
        raise ActInvalid(_fields(error)) from error


def _newest(state: GovernanceState) -> str:
    """The newest act that took effect, in words."""
    for line in reversed(state.history):
        if line.outcome == "valid":
            return f"{line.type} {line.about} by {line.actor}"
    return "an act that is not known"


def _fields(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)[:5]
    return "; ".join(f"{'.'.join(str(step) for step in problem['loc'])}: {problem['msg']}" for problem in found)
