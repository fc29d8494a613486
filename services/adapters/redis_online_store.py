"""The evidence of online learning in Redis or Valkey: a partition is written only over what it was read from."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.resources import files

from decision_engine.online import OnlineLearning
from services.adapters.redis_client import Argument, RedisClient, Reply
from services.ports import EvidenceChange, EvidenceWrite, StoredEvidence, StoreUnavailable

ONLINE_LIBRARY = files("services.adapters").joinpath("redis_online_functions.lua").read_text("utf-8")
"""The server-side functions of this store; `RedisClient.open(url, library=ONLINE_LIBRARY)`."""
_HEADER = b"@"
_A_SCAN = 1_000
_SECONDS = 10.0
_WRITES_KEPT = 64
"""Nodes look once a second; one that has missed more reads everything."""
_WRITES_AT_ONCE = 8
_NEXT = b"\n"
"""Stands between the parts of a note; neither headers nor names of cells have it."""
_HALF_LIVES_KEPT = 12
"""After so many half-lives without a write a four-thousandth of the evidence is left."""


@dataclass(frozen=True, slots=True)
class OnlineKeys:
    """Keys of one deployment for one way of counting: other steps or another half-life make other numbers."""

    namespace: str
    terms: OnlineLearning
    gathered: bool = False
    """Whether all of them carry one hash tag: in a cluster they can change together only then."""

    def of(self, partition: int) -> tuple[str, ...]:
        """Everything that is kept of one partition alone."""
        return self.cells(partition), self.options(partition), self.writes(partition)

    @property
    def _digest(self) -> str:
        counted = f"{self.terms.steps}|{self.terms.half_life_seconds}"
        return hashlib.blake2b(counted.encode(), digest_size=4).hexdigest()

    @property
    def index(self) -> str:
        """The newest header of each partition (a hash)."""
        return f"{self.namespace}:{'{online}' if self.gathered else 'online'}:{self._digest}"

    def cells(self, partition: int) -> str:
        """The cells of a partition, and its header (a hash)."""
        return f"{self.index}:{partition}:cells"

    def options(self, partition: int) -> str:
        """The options of a partition that are under way (a hash)."""
        return f"{self.index}:{partition}:options"

    def writes(self, partition: int) -> str:
        """What the latest writes of a partition have changed (a list, the newest first)."""
        return f"{self.index}:{partition}:writes"

    @property
    def kept_ms(self) -> int:
        """How long evidence is kept that nothing is added to."""
        return 1000 * max(_HALF_LIVES_KEPT * self.terms.half_life_seconds, 4 * self.terms.window_seconds)


class RedisOnlineStore:
    """Implements `ports.EvidenceStore` and `ports.EvidenceReader`. Raises StoreUnavailable."""

    def __init__(self, client: RedisClient, keys: OnlineKeys) -> None:
        self._client = client
        self._keys = replace(keys, gathered=bool(client.tags))

    async def header(self, partition: int) -> bytes | None:
        """What stands at the head of a partition; None where there is none."""
        reply = await self._client.execute("HGET", self._keys.cells(partition), _HEADER)
        return reply if isinstance(reply, bytes) else None

    async def load(self, partition: int) -> StoredEvidence | None:
        """Everything of a partition. Whoever writes meanwhile is found out by the next `save`."""
        # Before the cells, which come in parts: a header read with the last of them may be newer than the first.
        header = await self.header(partition)
        if header is None:
            return None
        cells, options = await self.cells(partition), await self._whole(self._keys.options(partition))
        return StoredEvidence(header=header, cells=cells, options=options)

    async def save(self, partition: int, write: EvidenceWrite) -> bool:
        """All of it in one step; False where the header was another and nothing was written."""
        keys = (
            self._keys.cells(partition),
            self._keys.options(partition),
            self._keys.index,
            self._keys.writes(partition),
        )
        arguments: list[Argument] = [write.expected or b"", write.header, partition, self._keys.kept_ms]
        for changed in (write.cells, write.options):
            arguments.append(len(changed))
            for name, value in changed.items():
                arguments += (name, value or b"")
        arguments += (_noted(write), _WRITES_KEPT)
        (reply,) = await self._client.call_many([("kairos_online_save", keys, arguments)], _SECONDS)
        return reply == 1

    async def headers(self) -> dict[int, bytes]:
        """The header of every partition that has evidence: another one means other evidence."""
        pairs = _items(await self._client.execute("HGETALL", self._keys.index))
        return {
            int(name): header
            for name, header in zip(pairs[::2], pairs[1::2], strict=True)
            if isinstance(name, bytes) and isinstance(header, bytes)
        }

    async def cells(self, partition: int) -> dict[str, bytes]:
        """The cells of a partition by name."""
        found = await self._whole(self._keys.cells(partition))
        found.pop(_HEADER.decode(), None)
        return found

    async def changes(self, partition: int, known: bytes, header: bytes) -> EvidenceChange | None:
        """What was written since `known`, by the notes of the latest writes; None where they do not lead from there to
        `header`: too many have come since, the store has lost some, or a writer has left none."""
        names, latest, passed, newest = dict[str, None](), None, False, known
        for first in range(0, _WRITES_KEPT, _WRITES_AT_ONCE):
            span = (first, first + _WRITES_AT_ONCE - 1)
            notes = _items(await self._client.execute("LRANGE", self._keys.writes(partition), *span))
            for note in notes:
                before, after, *changed = note.split(_NEXT) if isinstance(note, bytes) else (b"", b"")
                if latest is None:
                    newest = after
                elif after != latest:
                    return None  # a write is missing; or another came between two readings, and all is read once
                latest, passed = before, passed or after == header
                names |= dict.fromkeys(name.decode() for name in changed)
                if before == known:
                    return EvidenceChange(header=newest, cells=await self._named(partition, names)) if passed else None
            if len(notes) < _WRITES_AT_ONCE:
                return None
        return None

    async def forget(self) -> None:
        """Removes all evidence of this way of counting, so that it is read from the log again."""
        numbers = await self.headers()
        names = [key for number in numbers for key in self._keys.of(number)]
        await self._client.execute("DEL", self._keys.index, *names)

    async def _named(self, partition: int, names: Iterable[str]) -> dict[str, bytes | None]:
        """Cells as they are now: what was written to them since comes again with its own note."""
        found: dict[str, bytes | None] = {}
        rest = list(names)
        while rest:
            part, rest = rest[:_A_SCAN], rest[_A_SCAN:]
            values = _items(await self._client.execute("HMGET", self._keys.cells(partition), *part))
            found |= {name: v if isinstance(v, bytes) else None for name, v in zip(part, values, strict=True)}
        return found

    async def _whole(self, key: str) -> dict[str, bytes]:
        """A hash, read in parts so that others are served in between."""
        found: dict[str, bytes] = {}
        cursor: Argument = 0
        while True:
            reply = _items(await self._client.execute("HSCAN", key, cursor, "COUNT", _A_SCAN, timeout_s=_SECONDS))
            cursor, pairs = _text(reply[0]), _items(reply[1])
            found |= {
                name.decode(): value
                for name, value in zip(pairs[::2], pairs[1::2], strict=True)
                if isinstance(name, bytes) and isinstance(value, bytes)
            }
            if cursor == "0":
                return found


def _noted(write: EvidenceWrite) -> bytes:
    """What nodes are told of a write: the headers before and after it, and the cells it changed."""
    return _NEXT.join([write.expected or b"", write.header, *(name.encode() for name in write.cells)])


def _items(reply: Reply) -> list[Reply]:
    if isinstance(reply, list):
        return reply
    raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a list was due")


def _text(reply: Reply) -> str:
    if isinstance(reply, bytes):
        return reply.decode()
    raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a cursor was due")
