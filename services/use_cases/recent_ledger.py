"""The contact ledger as a rebuild of states sees it: only what is new is brought to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.identifiers import CustomerId
from services.ports import ContactResponse
from services.use_cases.ingest_events import ErasableLedger


@dataclass(frozen=True, slots=True)
class RecentLedger:
    """Passes on what happened at `since_ms` or later; what lies before was applied by those who serve, long ago."""

    ledger: ErasableLedger
    since_ms: int

    async def respond(
        self, customer_id: CustomerId, responses: Sequence[ContactResponse], *, from_log: bool = False
    ) -> list[bool]:
        """False for those not passed on."""
        recent = [response for response in responses if response.at_ms >= self.since_ms]
        applied = iter(await self.ledger.respond(customer_id, recent, from_log=from_log) if recent else ())
        return [response.at_ms >= self.since_ms and next(applied) for response in responses]

    async def forget(self, customer_id: CustomerId, until_ms: int) -> None:
        """Forgets every contact up to that time."""
        if until_ms >= self.since_ms:
            await self.ledger.forget(customer_id, until_ms)
