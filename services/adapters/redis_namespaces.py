"""The state namespaces of a deployment: who uses which, which are whole, and how one is removed.

Every node that serves or builds states says so again and again under the store's own clock; whoever falls silent drops
out after some seconds. When a layout was last used is remembered for good, so that only what nobody needs is removed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise

from services.adapters.redis_client import RedisClient, Reply
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import items_of
from services.ports import NamespaceUse, StoreUnavailable
from services.use_cases.running_beside import running_beside

FRESH_SECONDS = 10.0
"""Silence after which a node no longer counts as using anything."""
SAY_SECONDS = 1.0
_SCANNED_AT_ONCE = 500
"""Keys looked at in one step: a fraction of a millisecond of the server's time."""
_PAUSE_SECONDS = 0.002
_STEP_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A layout's states: when they were begun and last used (epoch milliseconds; 0: nobody knows), and whether they
    hold the whole log as a builder found it."""

    layout: str
    begun_ms: int
    used_ms: int
    whole: bool


class RedisNamespaces:
    """Implements `ports.StateNamespaces`. `fresh_s` is how long an announcement counts."""

    def __init__(self, client: RedisClient, namespace: str, *, fresh_s: float = FRESH_SECONDS) -> None:
        self._client = client
        self._keys = RedisKeys(namespace, "").divided(client.tags)
        self._fresh_ms = round(fresh_s * 1000)

    async def is_whole(self, layout: str) -> bool:
        """Whether decisions may rely on these states. Raises StoreUnavailable."""
        return all(await self._client.execute_many([("EXISTS", own.complete) for own in self._parts_of(layout)]))

    async def held(self, layout: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Up to where (exclusive) the states hold each topic partition. Raises StoreUnavailable."""
        asked = list(partitions)
        if not asked:
            return {}
        names = [f"{topic}/{number}" for topic, number in asked]
        parts = self._parts_of(layout)
        replies = await self._client.execute_many([("HMGET", own.progress, *names) for own in parts])
        rows = [[int(v) if isinstance(v, bytes) else 0 for v in items_of(reply)] for reply in replies]
        return {p: min(offsets) for p, offsets in zip(asked, zip(*rows, strict=True), strict=True)}

    async def begun(self, layout: str) -> bool:
        """Whether anybody has begun these states. Raises StoreUnavailable."""
        return any(await self._client.execute_many([("EXISTS", own.epoch) for own in self._parts_of(layout)]))

    async def plan(self, layout: str) -> bytes | None:
        """How the layout is rebuilt from the archive, as it was kept. Raises StoreUnavailable."""
        replies = await self._client.execute_many([("GET", own.rebuild) for own in self._parts_of(layout)])
        return next((reply for reply in replies if isinstance(reply, bytes)), None)

    async def keep_plan(self, layout: str, plan: bytes) -> None:
        """Keeps it, unless there is one already. Raises StoreUnavailable."""
        await self._client.execute_many([("SET", own.rebuild, plan, "NX") for own in self._parts_of(layout)])

    async def announce(self, use: NamespaceUse) -> None:
        """Says that the node uses the layout. Raises StoreUnavailable."""
        now = await self._now_ms()
        await self._client.execute_many(
            [
                ("ZADD", self._keys.in_use, now, _member(use)),
                ("ZADD", self._keys.used, now, use.layout),
                ("ZREMRANGEBYSCORE", self._keys.in_use, "-inf", now - self._fresh_ms),
            ]
        )

    async def withdraw(self, use: NamespaceUse) -> None:
        """Says that it does no longer. Raises StoreUnavailable."""
        await self._client.execute("ZREM", self._keys.in_use, _member(use))

    async def in_use(self) -> list[NamespaceUse]:
        """Everybody who uses a layout now. Raises StoreUnavailable."""
        since = await self._now_ms() - self._fresh_ms
        members = items_of(await self._client.execute("ZRANGEBYSCORE", self._keys.in_use, since, "+inf"))
        return [_use(member) for member in members if isinstance(member, bytes)]

    @asynccontextmanager
    async def announcing(
        self, use: Callable[[], NamespaceUse], every_s: float = SAY_SECONDS
    ) -> AsyncIterator[Callable[[], None]]:
        """Announces what `use` answers for as long as the context lasts; the function it yields does so at once."""
        wake = asyncio.Event()
        try:
            async with running_beside(self._announce_on(use, every_s, wake), "namespace-use"):
                yield wake.set
        finally:
            with suppress(StoreUnavailable):
                await self.withdraw(use())

    async def namespaces(self) -> list[Namespace]:
        """Every namespace in the store, by a walk over its keys. Raises StoreUnavailable."""
        layouts = set()
        async for names in self._scan(self._keys.everything):
            layouts |= {layout for name in names if (layout := _layout_of(name)) is not None}
        return [await self._described(layout) for layout in sorted(layouts)]

    async def remove(self, layout: str, on_removed: Callable[[int], None] = lambda _: None) -> int:
        """Removes everything of the layout in small steps; what says that it is whole goes first, so that nobody
        relies on half of it. Repeatable. Answers how many keys there were. Raises StoreUnavailable."""
        keys = replace(self._keys, layout=layout)
        gone = await self._client.execute_many(
            [("DEL", own.complete, own.whole, own.progress, own.epoch, own.rebuild) for own in keys.parts]
        )
        removed = sum(number for number in gone if isinstance(number, int))
        async for names in self._scan(keys.of_layout):
            if names:
                await self._client.execute("UNLINK", *names, timeout_s=_STEP_SECONDS)
                removed += len(names)
                on_removed(removed)
        await self._client.execute("ZREM", self._keys.used, layout)
        return removed

    async def _announce_on(self, use: Callable[[], NamespaceUse], every_s: float, wake: asyncio.Event) -> None:
        said: NamespaceUse | None = None
        while True:
            now = use()
            try:
                if said is not None and said != now:
                    await self.withdraw(said)
                await self.announce(now)
                said = now
            except StoreUnavailable as error:
                _log.debug("the use of a namespace was not announced: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), every_s)
            wake.clear()

    async def _described(self, layout: str) -> Namespace:
        parts = self._parts_of(layout)
        replies = await self._client.execute_many(
            [
                ("ZSCORE", self._keys.used, layout),
                *(("GET", own.epoch) for own in parts),
                *(("EXISTS", own.complete) for own in parts),
            ]
        )
        used, epochs, whole = replies[0], replies[1 : 1 + len(parts)], replies[1 + len(parts) :]
        begun_ms = min((_milliseconds(epoch) for epoch in epochs if epoch is not None), default=0)
        return Namespace(layout=layout, begun_ms=begun_ms, used_ms=_milliseconds(used), whole=all(whole))

    def _parts_of(self, layout: str) -> tuple[RedisKeys, ...]:
        return replace(self._keys, layout=layout).parts

    async def _scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        async for names in self._client.walk(pattern, _SCANNED_AT_ONCE, _STEP_SECONDS):
            yield names
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _now_ms(self) -> int:
        seconds, microseconds = items_of(await self._client.execute("TIME"))
        return _milliseconds(seconds) * 1000 + _milliseconds(microseconds) // 1000


def _member(use: NamespaceUse) -> str:
    return f"{use.role}|{use.layout}|{use.version}|{use.node}"


def _use(member: bytes) -> NamespaceUse:
    role, layout, version, node = member.decode().split("|", 3)
    return NamespaceUse(role=role, layout=layout, version=version, node=node)


_KINDS = (b"epoch", b"progress", b"whole", b"complete", b"state", b"fence", b"rebuild", b"unmatched")


def _layout_of(name: bytes) -> str | None:
    """The layout in a key that belongs to one."""
    parts = name.split(b":")
    for kind, layout in pairwise(parts):
        if kind in _KINDS and len(layout) == 16 and not layout.strip(b"0123456789abcdef"):
            return layout.decode()
    return None


def _milliseconds(reply: Reply) -> int:
    return int(float(reply)) if isinstance(reply, bytes) and reply else 0
