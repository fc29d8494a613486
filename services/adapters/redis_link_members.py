"""Who said to belong to a household or another shared subject, newest first and bounded."""

from collections.abc import Sequence

from services.adapters.redis_client import Command, RedisClient
from services.adapters.redis_keys import MEMBERS_KEPT, RedisKeys
from services.ports import Membership


class RedisLinkMembers:
    """Implements `ports.LinkMembers`."""

    def __init__(self, client: RedisClient, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys.divided(client.tags)

    async def join(self, memberships: Sequence[Membership]) -> None:
        """One round trip. A membership told twice, or late, changes nothing that is newer."""
        commands: list[Command] = []
        for membership in memberships:
            name = self._keys.members(membership.link, membership.value)
            commands.append(("ZADD", name, "GT", membership.at_ms, membership.customer_id))
            commands.append(("ZREMRANGEBYRANK", name, 0, -MEMBERS_KEPT - 1))
        if commands:
            await self._client.execute_many(commands)

    async def leave(self, memberships: Sequence[Membership]) -> None:
        """Two round trips at the most; what was said after their moments stays."""
        if not memberships:
            return
        places = [(self._keys.members(said.link, said.value), said.customer_id) for said in memberships]
        scores = await self._client.execute_many([("ZSCORE", *place) for place in places])
        commands: list[Command] = [
            ("ZREM", *place)
            for place, score, said in zip(places, scores, memberships, strict=True)
            if isinstance(score, bytes) and float(score) <= said.at_ms
        ]
        if commands:
            await self._client.execute_many(commands)
