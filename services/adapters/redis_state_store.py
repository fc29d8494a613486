"""Customer states in Redis or Valkey: many read and written at once, each only over the version it was folded from."""

import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from secrets import token_hex

from decision_engine.features.state import HEADER
from decision_engine.identifiers import CustomerId
from event_schemas.topics import STATE_TOPICS
from services.adapters.redis_client import Argument, Command, RedisClient, Reply
from services.adapters.redis_keys import RedisKeys
from services.ports import StateWrite, StoreUnavailable

FUNCTION_LIBRARY = files("services.adapters").joinpath("redis_functions.lua").read_text("utf-8")
"""The server-side functions that the adapters of this store call; `RedisClient.open(url, library=FUNCTION_LIBRARY)`."""
_KEYS_A_READ = 512
_KEYS_A_WRITE = 128
"""Bounds on what one command does, so that a batch of thousands leaves room for others in between."""
_BATCH_SECONDS = 10.0
_FENCE_SECONDS = 86_400
"""Only so that the fences of builders long gone do not pile up."""
Partition = tuple[str, int]
"""Topic and partition."""
VERSION_PREFIX_BYTES = HEADER.size + 8 * len(STATE_TOPICS)
"""A state begins with its header (layout, write counter, sizes) and its positions in the log: states of one customer
that share these bytes are the same write, even across a loss of the store and a rebuild."""


class RedisStateStore:
    """Implements `ports.StateStore` for one layout."""

    def __init__(self, client: RedisClient, keys: RedisKeys, *, batch_timeout_s: float = _BATCH_SECONDS) -> None:
        self._client = client
        self._keys = keys
        self._batch_timeout_s = batch_timeout_s
        self._writer = token_hex(8)
        self._batches = 0
        self._fence = ""

    async def load(self, customer_id: CustomerId) -> bytes | None:
        """The state as stored."""
        return value_of(await self._client.execute("GET", self._keys.state(customer_id)))

    async def load_many(self, customer_ids: Sequence[CustomerId]) -> list[bytes | None]:
        """In the order asked, one round trip."""
        names = [self._keys.state(customer_id) for customer_id in customer_ids]
        commands: list[Command] = [("MGET", *names[i : i + _KEYS_A_READ]) for i in range(0, len(names), _KEYS_A_READ)]
        replies = await self._client.execute_many(commands, self._batch_timeout_s)
        return [value_of(value) for reply in replies for value in items_of(reply)]

    async def save_many(self, writes: Sequence[StateWrite]) -> list[CustomerId]:
        """One round trip; answers the customers whose state had changed meanwhile. Raises StoreUnavailable, having
        written nothing, when the server has lost writes since `begin_batch`."""
        plain = _chunks([write for write in writes if write.memory is None])
        watched = _chunks([write for write in writes if write.memory is not None])
        chunks = plain + watched
        calls = [("kairos_save", self._state_keys(chunk), self._arguments(chunk)) for chunk in plain]
        calls += [("kairos_save_watched", self._watched_keys(chunk), self._arguments(chunk)) for chunk in watched]
        replies = await self._client.call_many(calls, self._batch_timeout_s)
        return [
            chunk[index].customer_id
            for chunk, reply in zip(chunks, replies, strict=True)
            for index in items_of(_unfallen(reply))
            if isinstance(index, int)
        ]

    async def begin_batch(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """Puts down a fence that every write until the next batch checks, then answers for each topic and partition
        the next offset these states want; None where they hold nothing of it. Progress is lost together with states,
        so that a builder ahead of it knows where to read again."""
        asked = list(partitions)
        self._batches += 1
        self._fence = f"{self._writer}-{self._batches}"
        commands: list[Command] = [("SET", self._keys.fence(self._writer), self._fence, "EX", _FENCE_SECONDS)]
        if asked:
            commands.append(("HMGET", self._keys.progress, *(f"{topic}/{number}" for topic, number in asked)))
        _, *replies = await self._client.execute_many(commands)
        return {
            partition: int(value) if isinstance(value, bytes) else None
            for partition, value in zip(asked, (v for r in replies for v in items_of(r)), strict=True)
        }

    async def record_progress(self, positions: Mapping[Partition, int]) -> None:
        """Notes, after the states were written, up to where (exclusive) they hold each partition."""
        await self._note(positions, self._keys.progress)

    async def record_matched(self, positions: Mapping[Partition, int]) -> None:
        """As `record_progress`, and in the same step that triggers have seen each partition so far, too."""
        await self._note(positions, self._keys.progress, self._keys.matched)

    async def mark_unmatched(self, positions: Mapping[Partition, int]) -> None:
        """Notes, before states are written, up to where they may come to hold what no trigger has seen."""
        await self._note(positions, self._keys.unmatched)

    async def begin_matching(self, positions: Mapping[Partition, int]) -> None:
        """Notes that triggers see each partition from there on, where that is news."""
        await self._note(positions, self._keys.matched)

    async def matched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """Up to where (exclusive) triggers have seen each partition; None where nobody has said."""
        return await self._noted(self._keys.matched, list(partitions))

    async def unmatched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """Up to where (exclusive) states of this layout may hold what no trigger has seen; None for nowhere."""
        return await self._noted(self._keys.unmatched, list(partitions))

    async def _note(self, positions: Mapping[Partition, int], *hashes: str) -> None:
        if not positions:
            return
        pairs = [part for (topic, number), offset in positions.items() for part in (f"{topic}/{number}", offset)]
        keys = (self._keys.fence(self._writer), *hashes)
        _unfallen(await self._client.call("kairos_progress", keys, (self._fence, *pairs)))

    async def _noted(self, name: str, asked: Sequence[Partition]) -> dict[Partition, int | None]:
        if not asked:
            return {}
        values = items_of(await self._client.execute("HMGET", name, *(f"{topic}/{number}" for topic, number in asked)))
        return {p: int(v) if isinstance(v, bytes) else None for p, v in zip(asked, values, strict=True)}

    async def mark_whole(self, partitions: Iterable[Partition], of: int) -> None:
        """Notes that the states hold all of these partitions; once they hold `of` partitions they are complete, and
        decisions rely on them. Raises StoreUnavailable when the server has lost writes since `begin_batch`."""
        pairs = [part for topic, number in partitions for part in (f"{topic}/{number}", 1)]
        if not pairs:
            return
        keys = (self._keys.fence(self._writer), self._keys.whole)
        _unfallen(await self._client.call("kairos_progress", keys, (self._fence, *pairs)))
        if await self._client.execute("HLEN", self._keys.whole) == of:
            await self._client.execute("SET", self._keys.complete, "1")

    async def mark_incomplete(self) -> None:
        """From now on decisions do without these states, until every partition is whole again."""
        await self._client.execute("DEL", self._keys.whole, self._keys.complete)

    async def begin_namespace(self) -> None:
        """Marks the states of this layout as begun: from now on their absence means loss."""
        await self._client.execute("SET", self._keys.epoch, str(int(time.time() * 1000)), "NX")

    async def epoch_present(self) -> bool:
        """Whether the states of this layout were begun and have not been lost since."""
        return await self._client.execute("EXISTS", self._keys.epoch) == 1

    async def ping(self) -> None:
        """Returns when the store answers."""
        await self._client.ping()

    def _state_keys(self, writes: Sequence[StateWrite]) -> list[Argument]:
        return [self._keys.fence(self._writer), *(self._keys.state(write.customer_id) for write in writes)]

    def _watched_keys(self, writes: Sequence[StateWrite]) -> list[Argument]:
        keys: list[Argument] = [self._keys.fence(self._writer)]
        for write in writes:
            if write.memory is not None:
                keys.append(self._keys.state(write.customer_id))
                keys.append(self._keys.triggers(write.customer_id))
                keys.append(self._keys.due(write.memory.partition))
        return keys

    def _arguments(self, writes: Sequence[StateWrite]) -> list[Argument]:
        arguments: list[Argument] = [self._fence, VERSION_PREFIX_BYTES]
        for write in writes:
            arguments += ((write.expected or b"")[:VERSION_PREFIX_BYTES], write.value)
            if (memory := write.memory) is not None:
                due, keep = _or_empty(memory.due_ms), _or_empty(memory.keep_ms)
                arguments += (memory.expected or b"", memory.value or b"", due, memory.customer_id, keep)
        return arguments


def _chunks(writes: Sequence[StateWrite]) -> list[Sequence[StateWrite]]:
    return [writes[i : i + _KEYS_A_WRITE] for i in range(0, len(writes), _KEYS_A_WRITE)]


def _or_empty(number: int | None) -> Argument:
    return "" if number is None else number


def value_of(reply: Reply) -> bytes | None:
    """A stored value or its absence; anything else is not the server we know."""
    if reply is None or isinstance(reply, bytes):
        return reply
    raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a value was due")


def items_of(reply: Reply) -> list[Reply]:
    """The members of a list reply."""
    if isinstance(reply, list):
        return reply
    raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a list was due")


def _unfallen(reply: Reply) -> Reply:
    if reply == -1:
        raise StoreUnavailable("the store has lost writes since this batch began")
    return reply
