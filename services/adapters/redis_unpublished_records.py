"""Which decision records are in the store and may not be on the bus yet, by the node that kept them."""

from collections.abc import Sequence

from decision_engine.identifiers import DecisionId
from services.adapters.redis_client import Command, RedisClient, Reply
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import items_of

ALIVE_SECONDS = 5
"""A node that has not said for so long that it lives is taken for dead."""
_PATIENT_SECONDS = 2.0
_TAKEN_OFF_AT_ONCE = 500


class RedisUnpublishedRecords:
    """Implements `use_cases.unpublished_records.UnpublishedRecords`. What a node noted is kept as long as its records,
    `record_s` seconds. Raises StoreUnavailable."""

    def __init__(self, client: RedisClient, namespace: str, *, record_s: int, alive_s: int = ALIVE_SECONDS) -> None:
        self._client = client
        self._keys = RedisKeys(namespace, "").divided(client.tags)
        self._record_s = record_s
        self._alive_s = alive_s

    async def live(self, node: str) -> None:
        """Says that the node lives, and may have something to publish."""
        await self._send(
            [
                ("SET", self._keys.publishing(node), "1", "EX", self._alive_s),
                ("SADD", self._keys.publishers, node),
                ("EXPIRE", self._keys.unpublished(node), self._record_s),
            ]
        )

    async def take_off(self, node: str, decision_ids: Sequence[DecisionId]) -> None:
        """Their records are on the bus, or not to be published. Repeatable."""
        name, most = self._keys.unpublished(node), _TAKEN_OFF_AT_ONCE
        starts = range(0, len(decision_ids), most)
        await self._send([("SREM", name, *decision_ids[start : start + most]) for start in starts])

    async def leave(self, node: str) -> None:
        """The node lives no longer. What it has left is for others to publish; with nothing left it is forgotten."""
        left, _ = await self._send([("SCARD", self._keys.unpublished(node)), ("DEL", self._keys.publishing(node))])
        if not left:
            await self._send([("SREM", self._keys.publishers, node)])

    async def dead(self) -> list[str]:
        """Nodes that have not said lately that they live, and were not forgotten."""
        (reply,) = await self._send([("SMEMBERS", self._keys.publishers)])
        nodes = sorted(node.decode() for node in items_of(reply) if isinstance(node, bytes))
        alive = await self._send([("EXISTS", self._keys.publishing(node)) for node in nodes])
        return [node for node, lives in zip(nodes, alive, strict=True) if not lives]

    async def claim(self, node: str, by: str, seconds: int) -> bool:
        """Whether what the dead node left is for this one to publish, for so long."""
        (reply,) = await self._send([("SET", self._keys.recovering(node), by, "NX", "EX", seconds)])
        return reply is not None

    async def unpublished(self, node: str, most: int, seconds: int) -> list[tuple[DecisionId, bytes | None]]:
        """Some of what the dead node left, in the order decided: the ids with their records, None where there is no
        record any more. Nothing, if the node lives after all. The claim on it lasts `seconds` from now."""
        chosen, lives, _ = await self._send(
            [
                ("SRANDMEMBER", self._keys.unpublished(node), most),
                ("EXISTS", self._keys.publishing(node)),
                ("EXPIRE", self._keys.recovering(node), seconds),
            ]
        )
        if lives:
            return []
        ids = sorted(DecisionId(id_.decode()) for id_ in items_of(chosen) if isinstance(id_, bytes))
        records = await self._send([("GET", self._keys.decision(id_)) for id_ in ids])
        return [(id_, r if isinstance(r, bytes) else None) for id_, r in zip(ids, records, strict=True)]

    async def forget(self, node: str) -> None:
        """Ends the claim, and forgets the node unless it has left something meanwhile: it may have been slow, not
        dead."""
        _, left, _ = await self._send(
            [
                ("SREM", self._keys.publishers, node),
                ("SCARD", self._keys.unpublished(node)),
                ("DEL", self._keys.recovering(node)),
            ]
        )
        if left:
            await self._send([("SADD", self._keys.publishers, node)])

    async def _send(self, commands: Sequence[Command]) -> list[Reply]:
        return await self._client.execute_many(commands, _PATIENT_SECONDS)
