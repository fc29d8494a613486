"""Customer states in Redis or Valkey: many read and written at once, each only over the version it was folded from."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from secrets import token_hex

from decision_engine.features.state import HEADER
from decision_engine.identifiers import CustomerId
from event_schemas.topics import STATE_TOPICS
from services.adapters.redis_client import Argument, Command, RedisClient, Reply
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_slots import part_of
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
        self._keys = keys.divided(client.tags)
        self._parts = self._keys.parts
        self._held: list[dict[Partition, int | None]] = []
        """Of each part what it held when the batch began."""
        self._batch_timeout_s = batch_timeout_s
        self._writer = token_hex(8)
        self._batches = 0
        self._fence = ""
        self._changes = client.server_changes

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
        written nothing of a part whose server has lost writes since `begin_batch`."""
        plain = self._chunks([write for write in writes if write.memory is None])
        watched = self._chunks([write for write in writes if write.memory is not None])
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
        so that a builder ahead of it knows where to read again. In a cluster the part that wants the earliest offset
        speaks for all: the others pass over what they hold already. What another server than before says of being
        complete is taken away: every builder has to look whether its share is still there."""
        asked = list(partitions)
        self._batches += 1
        self._fence = f"{self._writer}-{self._batches}"
        commands: list[Command] = [
            ("SET", keys.fence(self._writer), self._fence, "EX", _FENCE_SECONDS) for keys in self._parts
        ]
        if asked:
            fields = [_field(partition) for partition in asked]
            commands += [("HMGET", keys.progress, *fields) for keys in self._parts]
        replies = (await self._client.execute_many(commands))[len(self._parts) :]
        if self._changes != (changes := self._client.server_changes):
            await self._client.execute_many([("DEL", keys.whole, keys.complete) for keys in self._parts])
            self._changes = changes
        self._held = [_offsets(asked, reply) for reply in replies]
        return _least(asked, self._held)

    async def record_progress(self, positions: Mapping[Partition, int]) -> None:
        """Notes, after the states were written, up to where (exclusive) they hold each partition."""
        await self._note(positions, lambda keys: (keys.progress,))

    async def record_matched(self, positions: Mapping[Partition, int]) -> None:
        """As `record_progress`, and in the same step that triggers have seen each partition so far, too."""
        await self._note(positions, lambda keys: (keys.progress, keys.matched))

    async def mark_unmatched(self, positions: Mapping[Partition, int]) -> None:
        """Notes, before states are written, up to where they may come to hold what no trigger has seen."""
        await self._note(positions, lambda keys: (keys.unmatched,))

    async def begin_matching(self, positions: Mapping[Partition, int]) -> None:
        """Notes that triggers see each partition from there on, where that is news."""
        await self._note(positions, lambda keys: (keys.matched,))

    async def matched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """Up to where (exclusive) triggers have seen each partition; None where nobody has said."""
        asked = list(partitions)
        return _least(asked, await self._noted([keys.matched for keys in self._parts], asked))

    async def unmatched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """Up to where (exclusive) states of this layout may hold what no trigger has seen; None for nowhere."""
        asked = list(partitions)
        noted = await self._noted([keys.unmatched for keys in self._parts], asked)
        return {p: max((at for of in noted if (at := of[p]) is not None), default=None) for p in asked}

    async def _note(self, positions: Mapping[Partition, int], hashes: Callable[[RedisKeys], tuple[str, ...]]) -> None:
        if not positions:
            return
        pairs = [part for partition, offset in positions.items() for part in (_field(partition), offset)]
        calls = [
            ("kairos_progress", (keys.fence(self._writer), *hashes(keys)), (self._fence, *pairs))
            for keys in self._parts
        ]
        for reply in await self._client.call_many(calls):
            _unfallen(reply)

    async def _noted(self, names: Sequence[str], asked: Sequence[Partition]) -> list[dict[Partition, int | None]]:
        if not asked:
            return []
        fields = [_field(partition) for partition in asked]
        replies = await self._client.execute_many([("HMGET", name, *fields) for name in names])
        return [_offsets(asked, reply) for reply in replies]

    async def mark_whole(self, partitions: Iterable[Partition], of: int) -> None:
        """Notes that the states hold all of these partitions; once they hold `of` partitions they are complete, and
        decisions rely on them. Raises StoreUnavailable when the server has lost writes since `begin_batch`."""
        marks = dict.fromkeys(partitions, 1)
        if not marks:
            return
        await self._note(marks, lambda keys: (keys.whole,))
        lengths = await self._client.execute_many([("HLEN", keys.whole) for keys in self._parts])
        complete = [keys.complete for keys, length in zip(self._parts, lengths, strict=True) if length == of]
        if complete:
            # The fence is another one at each look, so that whoever has lost trust sees that somebody looked since.
            await self._client.execute_many([("SET", name, self._fence) for name in complete])

    async def mark_incomplete(self, known: Mapping[Partition, int]) -> None:
        """From now on decisions do without these states, until every partition is whole again; in a cluster without
        those of the parts that did not hold, when the batch began, what is `known` to have been there."""
        lost: Sequence[RedisKeys] = self._parts
        if len(self._held) == len(self._parts) > 1:
            lost = [keys for keys, held in zip(self._parts, self._held, strict=True) if _lacks(held, known)]
        await self._client.execute_many([("DEL", keys.whole, keys.complete) for keys in lost])

    async def begin_namespace(self) -> None:
        """Marks the states of this layout as begun: from now on their absence means loss."""
        now = str(int(time.time() * 1000))
        await self._client.execute_many([("SET", keys.epoch, now, "NX") for keys in self._parts])

    async def epoch_present(self) -> bool:
        """Whether the states of this layout were begun and have not been lost since."""
        return all(await self._client.execute_many([("EXISTS", keys.epoch) for keys in self._parts]))

    async def ping(self) -> None:
        """Returns when the store answers."""
        await self._client.ping()

    def _chunks(self, writes: Sequence[StateWrite]) -> list[Sequence[StateWrite]]:
        """Bounded, and each of one part."""
        apart: Iterable[Sequence[StateWrite]] = (writes,)
        if self._keys.tags:
            by_part: dict[int, list[StateWrite]] = {}
            for write in writes:
                by_part.setdefault(part_of(write.customer_id), []).append(write)
            apart = by_part.values()
        return [of[i : i + _KEYS_A_WRITE] for of in apart for i in range(0, len(of), _KEYS_A_WRITE)]

    def _fence_of(self, writes: Sequence[StateWrite]) -> str:
        return self._parts[self._keys.part(writes[0].customer_id)].fence(self._writer)

    def _state_keys(self, writes: Sequence[StateWrite]) -> list[Argument]:
        return [self._fence_of(writes), *(self._keys.state(write.customer_id) for write in writes)]

    def _watched_keys(self, writes: Sequence[StateWrite]) -> list[Argument]:
        own = self._parts[self._keys.part(writes[0].customer_id)]
        keys: list[Argument] = [own.fence(self._writer)]
        for write in writes:
            if write.memory is not None:
                keys.append(self._keys.state(write.customer_id))
                keys.append(self._keys.triggers(write.customer_id))
                keys.append(own.due(write.memory.partition))
        return keys

    def _arguments(self, writes: Sequence[StateWrite]) -> list[Argument]:
        arguments: list[Argument] = [self._fence, VERSION_PREFIX_BYTES]
        for write in writes:
            arguments += ((write.expected or b"")[:VERSION_PREFIX_BYTES], write.value)
            if (memory := write.memory) is not None:
                due, keep = _or_empty(memory.due_ms), _or_empty(memory.keep_ms)
                arguments += (memory.expected or b"", memory.value or b"", due, memory.customer_id, keep)
        return arguments


def _field(partition: Partition) -> str:
    topic, number = partition
    return f"{topic}/{number}"


def _offsets(asked: Sequence[Partition], reply: Reply) -> dict[Partition, int | None]:
    return {p: int(v) if isinstance(v, bytes) else None for p, v in zip(asked, items_of(reply), strict=True)}


def _lacks(held: Mapping[Partition, int | None], known: Mapping[Partition, int]) -> bool:
    return any((held.get(partition) or 0) < offset for partition, offset in known.items())


def _least(asked: Sequence[Partition], held: Sequence[Mapping[Partition, int | None]]) -> dict[Partition, int | None]:
    """What all parts have come to: nothing where one of them has nothing."""
    if len(held) == 1:
        return dict(held[0])
    found = {p: [of[p] for of in held] for p in asked}
    return {p: None if None in offsets else min(at for at in offsets if at is not None) for p, offsets in found.items()}


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
