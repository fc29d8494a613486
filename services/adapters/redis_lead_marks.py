"""Marks on leads in the store: who follows one up, and what each person has closed."""

from services.adapters.redis_client import RedisClient
from services.adapters.redis_state_store import items_of

CLOSED_SECONDS = 30 * 86_400
CLOSED_MOST = 200
_SWAP = """
local held = redis.call('GET', KEYS[1])
if (held or '') ~= ARGV[1] then return held end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
redis.call('INCR', KEYS[2])
return ARGV[2] ~= '' and ARGV[2] or false
"""
"""Set if it is as expected; the count of changes rises in the same step, so that no node misses one."""


class RedisLeadMarks:
    """Implements `use_cases.leads.marks.LeadMarks`. The braces keep all marks in one slot of a cluster."""

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self._client = client
        self._prefix = f"{namespace}:{{leads}}"

    async def swap(self, lead_id: str, expected: bytes | None, wanted: bytes | None, seconds: int) -> bytes | None:
        """In one step; what stands there afterwards."""
        keys = (self._mark(lead_id), f"{self._prefix}:changes")
        reply = await self._client.execute("EVAL", _SWAP, 2, *keys, expected or b"", wanted or b"", seconds)
        return reply if isinstance(reply, bytes) else None

    async def read(self, lead_ids: list[str]) -> list[bytes | None]:
        """In the order asked."""
        if not lead_ids:
            return []
        reply = await self._client.execute("MGET", *(self._mark(lead_id) for lead_id in lead_ids))
        return [item if isinstance(item, bytes) else None for item in items_of(reply)]

    async def changes(self) -> int:
        """How often any mark was changed."""
        reply = await self._client.execute("GET", f"{self._prefix}:changes")
        return int(reply) if isinstance(reply, bytes) else 0

    async def note(self, person: str, entry: bytes) -> None:
        """On top of the person's list."""
        key = self._closed(person)
        await self._client.execute_many(
            [("LPUSH", key, entry), ("LTRIM", key, 0, CLOSED_MOST - 1), ("EXPIRE", key, CLOSED_SECONDS)]
        )

    async def noted(self, person: str) -> list[bytes]:
        """The newest first."""
        reply = await self._client.execute("LRANGE", self._closed(person), 0, CLOSED_MOST - 1)
        return [item for item in items_of(reply) if isinstance(item, bytes)]

    def _mark(self, lead_id: str) -> str:
        return f"{self._prefix}:mark:{lead_id}"

    def _closed(self, person: str) -> str:
        return f"{self._prefix}:closed:{person}"
