"""What the screens keep: sessions of signed-in people, and which customers each of them opened last."""

from services.adapters.redis_client import RedisClient
from services.adapters.redis_state_store import items_of
from services.use_cases.log_pseudonyms import LogPseudonyms

RECENT_SECONDS = 7 * 86_400
RECENT_MOST = 12


class RedisScreens:
    """Implements `ports.SessionStore`, `ports.RecentCustomers` and `ports.AccessReasons`. Reasons are found again by
    `pseudonyms` of the same key alone: without a key they hold in this process, and are to be said again elsewhere."""

    def __init__(self, client: RedisClient, namespace: str, pseudonyms: LogPseudonyms | None = None) -> None:
        self._client = client
        self._namespace = namespace
        self._pseudonyms = LogPseudonyms() if pseudonyms is None else pseudonyms

    async def load(self, digest: str) -> bytes | None:
        """The session, None when there is none any more."""
        reply = await self._client.execute("GET", self._session(digest))
        return reply if isinstance(reply, bytes) else None

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        """Keeps a session for so long."""
        await self._client.execute("SET", self._session(digest), value, "EX", seconds)

    async def remove(self, digest: str) -> None:
        """Forgets a session."""
        await self._client.execute("DEL", self._session(digest))

    async def opened(self, person: str, customer_id: str, at_ms: int) -> None:
        """The person has opened the customer."""
        key = self._recent(person)
        await self._client.execute_many(
            [
                ("ZADD", key, at_ms, customer_id),
                ("ZREMRANGEBYRANK", key, 0, -RECENT_MOST - 1),
                ("EXPIRE", key, RECENT_SECONDS),
            ]
        )

    async def recent(self, person: str) -> list[tuple[str, int]]:
        """The customers the person opened last with the moment (epoch milliseconds), the newest first."""
        reply = await self._client.execute("ZREVRANGE", self._recent(person), 0, RECENT_MOST - 1, "WITHSCORES")
        items = [item for item in items_of(reply) if isinstance(item, bytes)]
        return [(items[i].decode(), int(float(items[i + 1]))) for i in range(0, len(items) - 1, 2)]

    async def give_reason(self, person: str, customer_id: str, reason: str, seconds: int) -> None:
        """Keeps for so long why the person sees the customer."""
        await self._client.execute("SET", self._reason(person, customer_id), reason, "EX", seconds)

    async def reason(self, person: str, customer_id: str) -> str | None:
        """Why the person sees the customer; None where nothing was said lately."""
        reply = await self._client.execute("GET", self._reason(person, customer_id))
        return reply.decode() if isinstance(reply, bytes) else None

    def _reason(self, person: str, customer_id: str) -> str:
        """By a keyed hash: who was looked at is nothing to be read off the store's keys, nor to be found by trying."""
        return f"{self._namespace}:reason:{self._pseudonyms.of_both(person, customer_id)}"

    def _session(self, digest: str) -> str:
        return f"{self._namespace}:session:{digest}"

    def _recent(self, person: str) -> str:
        return f"{self._namespace}:opened:{person}"
