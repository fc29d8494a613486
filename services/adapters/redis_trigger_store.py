"""Trigger memories and due indexes in Redis or Valkey: each memory written only over the one it was computed from."""

from collections.abc import Sequence

from decision_engine.identifiers import CustomerId
from services.adapters.redis_client import Argument, Command, RedisClient, Reply
from services.adapters.redis_keys import RedisKeys
from services.ports import DueCustomer, MemoryWrite, StoreUnavailable

_KEYS_A_READ = 512
_KEYS_A_WRITE = 128
"""Bounds on what one command does, as for states."""
_BATCH_SECONDS = 10.0


class RedisTriggerStore:
    """Implements `ports.TriggerStore`."""

    def __init__(self, client: RedisClient, keys: RedisKeys, *, batch_timeout_s: float = _BATCH_SECONDS) -> None:
        self._client = client
        self._keys = keys.divided(client.tags)
        self._parts = self._keys.parts
        self._batch_timeout_s = batch_timeout_s

    async def load_watched(
        self, customer_ids: Sequence[CustomerId], watched: Sequence[CustomerId]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """The states of the former and the memories of the latter, in the order asked, one round trip."""
        names = [self._keys.state(customer_id) for customer_id in customer_ids]
        names += [self._keys.triggers(customer_id) for customer_id in watched]
        commands: list[Command] = [("MGET", *names[i : i + _KEYS_A_READ]) for i in range(0, len(names), _KEYS_A_READ)]
        replies = await self._client.execute_many(commands, self._batch_timeout_s)
        values = [value if isinstance(value, bytes) else None for reply in replies for value in _items(reply)]
        return values[: len(customer_ids)], values[len(customer_ids) :]

    async def remember(self, writes: Sequence[MemoryWrite]) -> list[CustomerId]:
        """One round trip; answers the customers whose memory had changed meanwhile."""
        by_part: dict[int, list[MemoryWrite]] = {}
        for write in writes:
            by_part.setdefault(self._keys.part(write.customer_id), []).append(write)
        chunks = [of[i : i + _KEYS_A_WRITE] for of in by_part.values() for i in range(0, len(of), _KEYS_A_WRITE)]
        calls = [("kairos_remember", self._memory_keys(chunk), _arguments(chunk)) for chunk in chunks]
        replies = await self._client.call_many(calls, self._batch_timeout_s)
        return [
            chunk[index].customer_id
            for chunk, reply in zip(chunks, replies, strict=True)
            for index in _items(reply)
            if isinstance(index, int)
        ]

    async def due(self, partition: int, until_ms: int, most: int) -> list[DueCustomer]:
        """Those of whom something is due up to that moment, the earliest first."""
        within = ("-inf", until_ms, "BYSCORE", "LIMIT", 0, most, "WITHSCORES")
        replies = await self._client.execute_many([("ZRANGE", own.due(partition), *within) for own in self._parts])
        found = [
            DueCustomer(CustomerId(name.decode()), int(float(score)))
            for items in map(_items, replies)
            for name, score in zip(items[::2], items[1::2], strict=True)
            if isinstance(name, bytes) and isinstance(score, bytes)
        ]
        return found if len(self._parts) == 1 else sorted(found, key=lambda entry: entry.due_ms)[:most]

    async def begun(self, now_ms: int) -> int:
        """When these memories were begun: now, if there were none. In a cluster the part that was begun last speaks for
        all."""
        replies = await self._client.execute_many(
            [("SET", own.triggers_begun, now_ms, "NX", "GET") for own in self._parts]
        )
        return max(int(found) if isinstance(found, bytes) else now_ms for found in replies)

    async def postpone(self, partition: int, moved: Sequence[tuple[DueCustomer, int | None]]) -> None:
        """Notes later moments (None: nothing is due), except where a sooner one was noted meanwhile."""
        by_part: dict[int, list[tuple[DueCustomer, int | None]]] = {}
        for entry in moved:
            by_part.setdefault(self._keys.part(entry[0].customer_id), []).append(entry)
        for part, entries in by_part.items():
            for start in range(0, len(entries), _KEYS_A_WRITE):
                arguments: list[Argument] = []
                for customer, due_ms in entries[start : start + _KEYS_A_WRITE]:
                    arguments += (customer.customer_id, customer.due_ms, "" if due_ms is None else due_ms)
                await self._client.call("kairos_postpone", (self._parts[part].due(partition),), arguments)

    def _memory_keys(self, writes: Sequence[MemoryWrite]) -> list[Argument]:
        keys: list[Argument] = []
        for write in writes:
            own = self._parts[self._keys.part(write.customer_id)]
            keys += (self._keys.triggers(write.customer_id), own.due(write.partition))
        return keys


def _arguments(writes: Sequence[MemoryWrite]) -> list[Argument]:
    arguments: list[Argument] = []
    for write in writes:
        due, keep = _or_empty(write.due_ms), _or_empty(write.keep_ms)
        arguments += (write.expected or b"", write.value or b"", due, write.customer_id, keep)
    return arguments


def _or_empty(number: int | None) -> Argument:
    return "" if number is None else number


def _items(reply: Reply) -> list[Reply]:
    if isinstance(reply, list):
        return reply
    raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a list was due")
