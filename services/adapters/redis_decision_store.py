"""What a decision reads and leaves behind: state and ledger, its record, its tracked options, its idempotent answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from decision_engine.features.linked import LinkKind, LinkRef
from decision_engine.identifiers import CustomerId, DecisionId
from services.adapters.redis_client import Argument, Command, RedisClient, Reply
from services.adapters.redis_keys import MEMBERS_KEPT, RedisKeys
from services.adapters.redis_state_store import items_of
from services.ports import CustomerReading, IdempotencyClaim, TrackedOption

_KEEP_ANSWER, _KEEP_DECISION = "kairos_keep_answer", "kairos_keep_decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRetention:
    """Seconds that idempotent answers, records and tracked options are kept. A claim is kept no longer than an attempt
    goes on trying to keep its answer, so that one whose process died stands in nobody's way for long."""

    idempotency_s: int = 60
    claim_s: int = 15
    record_s: int = 86_400
    tracked_s: int = 30 * 86_400


class RedisDecisionStore:
    """Implements `ports.DecisionStore`."""

    def __init__(self, client: RedisClient, keys: RedisKeys, retention: DecisionRetention | None = None) -> None:
        self._client = client
        self._keys = keys
        self._retention = retention or DecisionRetention()

    def of_layout(self, layout: str) -> "RedisDecisionStore":
        """The same store, reading states of another layout."""
        return RedisDecisionStore(self._client, replace(self._keys, layout=layout), self._retention)

    async def read_for_decision(self, customer_id: CustomerId, claim: IdempotencyClaim | None) -> CustomerReading:
        """State, ledger and what stands under the idempotency key in one round trip; claims the key when it is free."""
        commands: list[Command] = [
            ("GET", self._keys.state(customer_id)),
            ("GET", self._keys.ledger(customer_id)),
            ("EXISTS", self._keys.complete),
        ]
        if claim is not None:
            commands.append(self._claiming(claim))
        state, ledger, complete, *claimed = await self._client.execute_many(commands)
        return CustomerReading(
            state=_bytes(state),
            ledger=_bytes(ledger),
            complete=complete == 1,
            claimed=_left_by_another(claimed[0], claim) if claim is not None else None,
        )

    async def claim(self, claim: IdempotencyClaim) -> bytes | None:
        """What another attempt left under the key; None when it is this claim's, now or since before."""
        return _left_by_another(await self._client.execute(*self._claiming(claim)), claim)

    async def read_linked(self, customer_id: CustomerId, refs: Sequence[LinkRef]) -> list[list[bytes | None]]:
        """For each link the states of those it may lead to, in two round trips at the most."""
        ids = [[ref.value] for ref in refs]
        asked = [(i, ref) for i, ref in enumerate(refs) if ref.link.kind is LinkKind.TOGETHER]
        if asked:
            names = [self._keys.members(ref.link.name, ref.value) for _, ref in asked]
            replies = await self._client.execute_many([("ZREVRANGE", name, 0, MEMBERS_KEPT - 1) for name in names])
            for (i, _), reply in zip(asked, replies, strict=True):
                ids[i] = [member.decode() for member in items_of(reply) if isinstance(member, bytes)]
        others = [[CustomerId(member) for member in members if member != customer_id] for members in ids]
        names = [self._keys.state(member) for members in others for member in members]
        states = iter(items_of(await self._client.execute("MGET", *names)) if names else ())
        return [[_bytes(next(states)) for _ in members] for members in others]

    async def claimed(self, idempotency_key: str) -> bytes | None:
        """The claim or answer under the key."""
        return _bytes(await self._client.execute("GET", self._keys.idempotency(idempotency_key)))

    async def save(
        self,
        decision_id: DecisionId,
        record: bytes,
        options: Sequence[TrackedOption],
        claim: IdempotencyClaim | None,
        answer: bytes,
    ) -> bytes | None:
        """Keeps the record and its options, and with a claim the answer as `keep_answer` does: all of it or, where
        another attempt has the key, nothing. Attempts at one firing share the decision's id: the first one stands."""
        retention = self._retention
        name, tracked = self._keys.decision(decision_id), [self._keys.tracked(option.tracking_id) for option in options]
        if claim is None:
            commands: list[Command] = [("SET", name, record, "EX", retention.record_s)]
            commands += [
                ("SET", key, orjson.dumps(option), "EX", retention.tracked_s)
                for key, option in zip(tracked, options, strict=True)
            ]
            await self._client.execute_many(commands)
            return None
        keys = (self._keys.idempotency(claim.key), name, *tracked)
        arguments: list[Argument] = [claim.value, answer, retention.idempotency_s]
        arguments += [retention.record_s, record, retention.tracked_s, *(orjson.dumps(option) for option in options)]
        return _bytes(await self._client.call(_KEEP_DECISION, keys, arguments))

    async def keep_answer(self, claim: IdempotencyClaim, answer: bytes) -> bytes | None:
        """Puts the answer under its key unless another attempt has it; what that left there then."""
        keys = (self._keys.idempotency(claim.key),)
        arguments = (claim.value, answer, self._retention.idempotency_s)
        return _bytes(await self._client.call(_KEEP_ANSWER, keys, arguments))

    def _claiming(self, claim: IdempotencyClaim) -> Command:
        name = self._keys.idempotency(claim.key)
        seconds = min(self._retention.claim_s, self._retention.idempotency_s)
        return ("SET", name, claim.value, "NX", "GET", "EX", seconds)

    async def record(self, decision_id: DecisionId) -> bytes | None:
        """The record of a decision, as published."""
        return _bytes(await self._client.execute("GET", self._keys.decision(decision_id)))

    async def tracked(self, tracking_ids: Sequence[str]) -> list[TrackedOption | None]:
        """In the order asked; None for those unknown or expired."""
        replies = await self._client.execute_many([("GET", self._keys.tracked(t)) for t in tracking_ids])
        return [TrackedOption(**orjson.loads(reply)) if isinstance(reply, bytes) else None for reply in replies]


def _left_by_another(reply: Reply, claim: IdempotencyClaim) -> bytes | None:
    """What stood under the key, unless this attempt put it there, perhaps before a crash."""
    held = _bytes(reply)
    return None if held == claim.value else held


def _bytes(reply: Reply) -> bytes | None:
    return reply if isinstance(reply, bytes) else None
