"""What a decision reads and leaves behind: state and ledger, its record, its tracked options, its idempotent answer."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from decision_engine.features.linked import LinkKind, LinkRef
from decision_engine.identifiers import CustomerId, DecisionId
from services.adapters.redis_client import Argument, Command, RedisClient, Reply
from services.adapters.redis_keys import MEMBERS_KEPT, RedisKeys, household
from services.adapters.redis_state_store import items_of
from services.ports import CustomerReading, IdempotencyClaim, StoreUnavailable, TrackedOption

_OPTION_FIELDS: Mapping[str, type] = {
    **dict.fromkeys(
        ("tracking_id", "decision_id", "customer_id", "offer", "group", "issue", "treatment", "channel", "placement"),
        str,
    ),
    "decided_ms": int,
    "flags": int,
}
"""What is read of an option. A newer release may keep more."""
FOR_EVER = b"1"
"""Says that states are complete where no builder says so anew at each look: those of releases before, and whoever fills
a store by hand."""
_log = logging.getLogger(__name__)
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
    """Implements `ports.DecisionStore`. With a `node`, one life of a process, every record that is kept is noted in the
    same step as not published yet by that node (redis_unpublished_records.py)."""

    def __init__(
        self, client: RedisClient, keys: RedisKeys, retention: DecisionRetention | None = None, node: str | None = None
    ) -> None:
        self._client = client
        self._keys = keys.divided(client.tags)
        self._retention = retention or DecisionRetention()
        self._node = node
        self._unpublished = None if node is None else self._keys.unpublished(node)
        self._changes = client.server_changes
        self._doubted: bytes | None = None
        """What said that the states were complete when the server was found to be another one."""

    def of_layout(self, layout: str) -> "RedisDecisionStore":
        """The same store, reading states of another layout."""
        return RedisDecisionStore(self._client, replace(self._keys, layout=layout), self._retention, self._node)

    async def read_for_decision(self, customer_id: CustomerId, claim: IdempotencyClaim | None) -> CustomerReading:
        """State, ledger and what stands under the idempotency key in one round trip; claims the key when it is free."""
        commands: list[Command] = [
            ("GET", self._keys.state(customer_id)),
            ("GET", self._keys.ledger(customer_id)),
            ("GET", self._keys.of_part(customer_id).complete),
        ]
        if claim is not None:
            commands.append(self._claiming(claim))
        state, ledger, complete, *claimed = await self._client.execute_many(commands)
        return CustomerReading(
            state=_bytes(state),
            ledger=_bytes(ledger),
            complete=self._is_trusted(_bytes(complete)),
            claimed=_left_by_another(claimed[0], claim) if claim is not None else None,
        )

    def _is_trusted(self, said: bytes | None) -> bool:
        """Whether the states are complete, by what is said of them. Another server, or the same one started again, may
        lack its last writes: what stood there says nothing until a builder has looked and says so anew."""
        if self._changes != self._client.server_changes:
            self._changes, self._doubted = self._client.server_changes, said
        if said is None or (said == self._doubted and said != FOR_EVER):
            return False
        self._doubted = None
        return True

    async def claim(self, claim: IdempotencyClaim) -> bytes | None:
        """What another attempt left under the key; None when it is this claim's, now or since before."""
        return _left_by_another(await self._client.execute(*self._claiming(claim)), claim)

    async def read_linked(self, customer_id: CustomerId, refs: Sequence[LinkRef]) -> list[list[bytes | None]]:
        """For each link the states of those it may lead to, in two round trips at the most. In a cluster those may be
        of parts that are being rebuilt while the customer's own is not: then none of it is known."""
        ids = [[ref.value] for ref in refs]
        asked = [(i, ref) for i, ref in enumerate(refs) if ref.link.kind is LinkKind.TOGETHER]
        if asked:
            names = [self._keys.members(ref.link.name, ref.value) for _, ref in asked]
            commands: list[Command] = [("ZREVRANGE", name, 0, MEMBERS_KEPT - 1) for name in names]
            replies = await self._complete([household(ref.link.name, ref.value) for _, ref in asked], commands)
            for (i, _), reply in zip(asked, replies, strict=True):
                ids[i] = [member.decode() for member in items_of(reply) if isinstance(member, bytes)]
        others = [[CustomerId(member) for member in members if member != customer_id] for members in ids]
        read = [member for members in others for member in members]
        found = await self._complete(read, [("MGET", *map(self._keys.state, read))]) if read else []
        states = iter(items_of(found[0]) if found else ())
        return [[_bytes(next(states)) for _ in members] for members in others]

    async def _complete(self, names: Sequence[str], commands: Sequence[Command]) -> list[Reply]:
        """The replies, if the parts of these names hold all that the log says; on one server that was asked before."""
        if not self._keys.tags:
            return await self._client.execute_many(commands)
        parts = {self._keys.part(name): self._keys.of_part(name).complete for name in names}
        asked: list[Command] = [("EXISTS", name) for name in parts.values()]
        replies = await self._client.execute_many([*asked, *commands])
        if not all(replies[: len(asked)]):
            raise StoreUnavailable("states that the customer is linked to are being rebuilt")
        return replies[len(asked) :]

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
        if claim is None or self._keys.tags:
            commands: list[Command] = [("SET", name, record, "EX", retention.record_s)]
            if self._unpublished is not None:
                commands.append(("SADD", self._unpublished, decision_id))
            for key, option in zip(tracked, options, strict=True):
                commands.append(("SET", key, orjson.dumps(option), "EX", retention.tracked_s))
            return await self._save_apart(commands, claim, answer)
        keys = [self._keys.idempotency(claim.key), name, *tracked]
        noted = ""
        if self._unpublished is not None:
            keys.append(self._unpublished)
            noted = decision_id
        arguments: list[Argument] = [
            *(claim.value, answer, retention.idempotency_s, retention.record_s, record, retention.tracked_s, noted),
            *[orjson.dumps(option) for option in options],
        ]
        return _bytes(await self._client.call(_KEEP_DECISION, keys, arguments))

    async def _save_apart(
        self, commands: Sequence[Command], claim: IdempotencyClaim | None, answer: bytes
    ) -> bytes | None:
        """Step by step, as in a cluster the keys lie apart: nothing unless the key is this claim's, and the answer
        last, so that whoever finds it finds what it offers. A claim outlives the time in which its attempt
        keeps anything."""
        if claim is not None:
            held = await self.claim(claim)
            if held is not None and held != answer:
                return held
        await self._client.execute_many(commands)
        return None if claim is None else await self.keep_answer(claim, answer)

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
        return [tracked_option(reply) if isinstance(reply, bytes) else None for reply in replies]


def tracked_option(value: bytes) -> TrackedOption | None:
    """The option as kept, by whichever release; what cannot be read is as good as expired: None."""
    try:
        kept = orjson.loads(value)
        option = TrackedOption(**{name: kept[name] for name in _OPTION_FIELDS if name in kept})
    except (ValueError, TypeError):
        option = None
    if option is None or not all(isinstance(getattr(option, name), kind) for name, kind in _OPTION_FIELDS.items()):
        _log.error("an option of a response could not be read", extra={"action": "it is taken for unknown"})
        return None
    return option


def _left_by_another(reply: Reply, claim: IdempotencyClaim) -> bytes | None:
    """What stood under the key, unless this attempt put it there, perhaps before a crash."""
    held = _bytes(reply)
    return None if held == claim.value else held


def _bytes(reply: Reply) -> bytes | None:
    return reply if isinstance(reply, bytes) else None
