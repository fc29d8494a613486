"""Following the log of acts: the read model at this moment, and who is told of each act that took effect."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable

from event_schemas.codec import Event
from services.ports import Delivery
from services.use_cases.governance.chain import Head
from services.use_cases.governance.fold import GovernanceFold, Taken
from services.use_cases.governance.state import GovernanceState

EffectHandler = Callable[[Event], Awaitable[None]]
Listener = Callable[[GovernanceState], None]
_log = logging.getLogger(__name__)


class GovernanceLog:
    """The state of governance as this process has read it. Handlers of `subscribe` are told of the acts that took
    effect and of no others: not of those that lost a race, are against the rules, or stand in a broken chain."""

    def __init__(self) -> None:
        self._fold = GovernanceFold()
        self._handlers: dict[str, list[EffectHandler]] = defaultdict(list)
        self._listeners: list[Listener] = []
        self._awaited: dict[str, asyncio.Future[Taken]] = {}

    @property
    def state(self) -> GovernanceState:
        """What the acts so far come to."""
        return self._fold.state

    @property
    def head(self) -> Head:
        """Where the next act goes."""
        return self._fold.chain.head

    def contradiction(self, kept: Head) -> str | None:
        """What a head kept apart from the log says against it."""
        return self._fold.chain.contradiction(kept)

    def subscribe(self, event_type: str, handler: EffectHandler) -> None:
        """Calls the handler for each act of the type that takes effect; to be done before following."""
        self._handlers[event_type].append(handler)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Calls the listener with the new state whenever it has changed; the answer ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def expect(self, event_id: str) -> "asyncio.Future[Taken]":
        """Done when the act of this id has come back from the log."""
        return self._awaited.setdefault(event_id, asyncio.get_running_loop().create_future())

    def forget(self, event_id: str) -> None:
        """Nobody waits for this act any more."""
        self._awaited.pop(event_id, None)

    async def on_record(self, delivery: Delivery) -> None:
        """To be given every record of the control topic, those of a partition in their order."""
        before = self._fold.state
        taken = self._fold.take(delivery)
        if taken.link is not None and taken.link.faulty:
            _log.error("the chain of acts is broken: %s", taken.state.faults[-1], extra={"action": "governance"})
        event = _told(before, taken)
        if event is not None:
            await self._tell(event)
        if taken.state is not before:
            for listener in tuple(self._listeners):
                listener(taken.state)
        came = taken.loose if taken.link is None else taken.link.event
        waiting = None if came is None else self._awaited.pop(came.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(taken)

    async def _tell(self, event: Event) -> None:
        for handler in self._handlers.get(event.type, ()):
            try:
                await handler(event)
            except Exception:  # noqa: BLE001 - one bad handler must not keep an act from the others
                _log.exception("a handler of %s %s failed", event.type, event.id, extra={"action": "governance"})


def _told(before: GovernanceState, taken: Taken) -> Event | None:
    """The act that took effect with this record."""
    if taken.link is not None:
        return taken.link.event if taken.effective else None
    # An act of before the chain counts only as long as no act of the chain says what decides.
    changed = taken.state.before_chain is not before.before_chain
    return taken.loose if changed and not taken.state.activations else None
