"""What fires where nobody decides: it stays pending in the trigger memory and due, for the next owner to find."""

from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.identifiers import CustomerId
from decision_engine.triggers.compiled import CompiledTriggers
from decision_engine.triggers.firing import Overtaken
from services.ports import Clock, EventPublisher
from services.use_cases.firing_cases import Watched
from services.use_cases.withdrawals import withdrawal


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftPending:
    """Implements `match_triggers.Firings` for a rebuild that hands its states over."""

    triggers: CompiledTriggers
    publisher: EventPublisher
    clock: Clock

    def submit(self, customer: Watched) -> None:
        """The due index, written with the memory, names the customer."""

    async def withdraw(self, customer_id: CustomerId, overtaken: Sequence[Overtaken]) -> None:
        """Tells the channels what not to deliver any more; repeatable. Raises BusUnavailable."""
        if overtaken:
            now_ms = self.clock.now_ms()
            await self.publisher.publish([withdrawal(self.triggers, customer_id, one, now_ms) for one in overtaken])
