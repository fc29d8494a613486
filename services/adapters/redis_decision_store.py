"""What a decision reads and leaves behind: state and ledger, its record, its tracked options, its idempotent answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from decision_engine.identifiers import CustomerId, DecisionId
from services.adapters.redis_client import Command, RedisClient, Reply
from services.adapters.redis_keys import RedisKeys
from services.ports import CustomerReading, TrackedOption

CLAIM = b"claimed"
"""What stands under an idempotency key from the moment a request takes it until its answer is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRetention:
    """Seconds that idempotent answers, records and tracked options are kept."""

    idempotency_s: int = 60
    record_s: int = 86_400
    tracked_s: int = 30 * 86_400


class RedisDecisionStore:
    """Implements `ports.DecisionStore`."""

    def __init__(self, client: RedisClient, keys: RedisKeys, retention: DecisionRetention | None = None) -> None:
        self._client = client
        self._keys = keys
        self._retention = retention or DecisionRetention()

    async def read_for_decision(self, customer_id: CustomerId, idempotency_key: str | None) -> CustomerReading:
        """State, ledger and idempotency claim in one round trip; claims the key when it is free."""
        commands: list[Command] = [
            ("GET", self._keys.state(customer_id)),
            ("GET", self._keys.ledger(customer_id)),
            ("EXISTS", self._keys.complete),
        ]
        if idempotency_key is not None:
            name = self._keys.idempotency(idempotency_key)
            commands.append(("SET", name, CLAIM, "NX", "GET", "EX", self._retention.idempotency_s))
        state, ledger, complete, *claimed = await self._client.execute_many(commands)
        return CustomerReading(
            state=_bytes(state),
            ledger=_bytes(ledger),
            complete=complete == 1,
            claimed=_bytes(claimed[0]) if claimed else None,
        )

    async def claimed(self, idempotency_key: str) -> bytes | None:
        """The claim or answer under the key."""
        return _bytes(await self._client.execute("GET", self._keys.idempotency(idempotency_key)))

    async def save(
        self,
        decision_id: DecisionId,
        record: bytes,
        options: Sequence[TrackedOption],
        idempotency_key: str | None,
        answer: bytes,
    ) -> None:
        """Keeps the record, its options and the idempotent answer, one round trip."""
        retention = self._retention
        commands: list[Command] = [("SET", self._keys.decision(decision_id), record, "EX", retention.record_s)]
        commands += [
            ("SET", self._keys.tracked(option.tracking_id), orjson.dumps(option), "EX", retention.tracked_s)
            for option in options
        ]
        if idempotency_key is not None:
            name = self._keys.idempotency(idempotency_key)
            commands.append(("SET", name, answer, "EX", retention.idempotency_s))
        await self._client.execute_many(commands)

    async def record(self, decision_id: DecisionId) -> bytes | None:
        """The record of a decision, as published."""
        return _bytes(await self._client.execute("GET", self._keys.decision(decision_id)))

    async def tracked(self, tracking_ids: Sequence[str]) -> list[TrackedOption | None]:
        """In the order asked; None for those unknown or expired."""
        replies = await self._client.execute_many([("GET", self._keys.tracked(t)) for t in tracking_ids])
        return [TrackedOption(**orjson.loads(reply)) if isinstance(reply, bytes) else None for reply in replies]


def _bytes(reply: Reply) -> bytes | None:
    return reply if isinstance(reply, bytes) else None
