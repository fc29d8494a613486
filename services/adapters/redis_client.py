"""Commands to Redis or Valkey: one server, whoever is master behind Sentinel, or a cluster, by the URL.

redis-py spends most of its time per call on bookkeeping (pool, retry, lock, two stream awaits); with 64 callers it
spends about ten times the processor time of this protocol on the same reads (`loadtests/bench_ingest.py --client`).
So the wire is handled here: hiredis packs and parses, every caller of a turn shares a write, replies come back in
order, and each call has its own deadline.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.adapters.redis_address import RedisAddress
from services.adapters.redis_cluster import SCHEMES as CLUSTER_SCHEMES
from services.adapters.redis_cluster import RedisCluster
from services.adapters.redis_cluster_map import ClusterAddress
from services.adapters.redis_lane import (
    Address,
    Argument,
    ClientLimits,
    Command,
    Lanes,
    Reply,
    ReplyError,
    not_serving,
)
from services.adapters.redis_library import FunctionLibrary
from services.adapters.redis_sentinel import SCHEMES as SENTINEL_SCHEMES
from services.adapters.redis_sentinel import SentinelAddress
from services.adapters.redis_slots import TAGS
from services.ports import StoreSlow, StoreUnavailable
from services.use_cases.circuit_breaker import CircuitBreaker, Way

__all__ = ["Argument", "ClientLimits", "Command", "RedisClient", "Reply", "ReplyError", "address_of"]
STALLED_S = 0.1
"""A connection whose oldest command waits for so long helps no decision."""


class RedisClient:
    """Commands over a few pipelined connections. Raises StoreUnavailable when the server is away or late; where it
    refuses a single command that is a ReplyError. With a `breaker` a server that hangs or is away is left alone, but
    for one call at a time that finds out whether it still does."""

    def __init__(
        self, url: str, limits: ClientLimits, library: str | None, breaker: CircuitBreaker | None = None
    ) -> None:
        self._limits = limits
        self._library = None if library is None else FunctionLibrary.of(library)
        self._breaker = breaker
        self._in_flight = 0
        self._cluster: RedisCluster | None = None
        self.tags: tuple[str, ...] = ()
        """The hash tags that keys are divided by; none on one server, where all keys may change together."""
        if url.partition("://")[0] in CLUSTER_SCHEMES:
            self._cluster, self.tags = RedisCluster(ClusterAddress.parse(url), limits), TAGS
            self._breaker = None  # one master that hangs is no reason to leave the others alone
        else:
            self._lanes = Lanes(address_of(url), limits)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        limits: ClientLimits | None = None,
        library: str | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> AsyncIterator["RedisClient"]:
        """Connects, loads `library` (source of a function library), and closes on leaving."""
        client = cls(url, limits or ClientLimits(), library, breaker)
        try:
            await client.load_library()
            yield client
        finally:
            await client.close()

    @classmethod
    def lazy(cls, url: str, limits: ClientLimits | None = None) -> "RedisClient":
        """One that connects when it is first asked something; to be closed."""
        return cls(url, limits or ClientLimits(), None)

    @property
    def server_changes(self) -> int:
        """How often the server was found to be another one, or to have been started again, which it may have come out
        of without its last writes. Of a cluster nothing is said."""
        return 0 if self._cluster is not None else self._lanes.changes

    @property
    def cluster(self) -> RedisCluster | None:
        """The cluster behind it; None where one server holds everything."""
        return self._cluster

    async def execute(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        """The reply to one command."""
        (reply,) = await self._send((command,), timeout_s)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def execute_many(self, commands: Sequence[Command], timeout_s: float | None = None) -> list[Reply]:
        """The replies in order, one round trip; the first refused command raises after all have run."""
        replies = await self._send(commands, timeout_s)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies

    async def call(self, function: str, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Reply:
        """The reply of one function of the library."""
        (reply,) = await self.call_many(((function, keys, arguments),))
        return reply

    async def call_many(
        self,
        calls: Sequence[tuple[str, Sequence[Argument], Sequence[Argument]]],
        timeout_s: float | None = None,
    ) -> list[Reply]:
        """Function calls (name, keys, arguments) in one round trip. Where the server lost the library (a restart
        without persistence) it is loaded and the calls that found no function are made once more."""
        called = str if self._library is None else self._library.called
        commands: list[Command] = [("FCALL", called(name), len(keys), *keys, *more) for name, keys, more in calls]
        replies = await self._send(commands, timeout_s)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, ReplyError) and _no_function(reply)]
        if missing:
            await self.load_library()
            again = await self._send([commands[i] for i in missing], timeout_s)
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies

    async def walk(self, pattern: str, at_once: int, step_s: float) -> AsyncGenerator[list[bytes]]:
        """The names of every key that fits the pattern, some at a time; each step takes `step_s` at the most. A name
        may come twice, and one that is made or removed meanwhile may or may not. Of a cluster one master is walked
        after the other."""
        places = [None] if self._cluster is None else await self._cluster.masters(step_s)
        for place in places:
            cursor = b"0"
            while True:
                scan: Command = ("SCAN", cursor, "MATCH", pattern, "COUNT", at_once)
                if self._cluster is None or place is None:
                    reply = await self.execute(*scan, timeout_s=step_s)
                else:
                    reply = await self._cluster.ask(place, scan, step_s)
                if not isinstance(reply, list) or not isinstance(reply[0], bytes) or not isinstance(reply[1], list):
                    raise StoreUnavailable("the store's walk over its keys has no cursor")
                cursor = reply[0]
                yield [name for name in reply[1] if isinstance(name, bytes)]
                if cursor == b"0":
                    break

    async def everywhere(self, *command: Argument, timeout_s: float | None = None) -> dict[str, Reply]:
        """The reply of each master, by where it stands; one that is away or refuses has an error for a reply. Of one
        server the name is empty."""
        if self._cluster is None:
            return {"": await self.execute(*command, timeout_s=timeout_s)}
        timeout = self._limits.timeout_s if timeout_s is None else timeout_s
        replies = await self._cluster.everywhere(command, timeout)
        return {f"{host}:{port}": reply for (host, port), reply in replies.items()}

    async def placement(self, timeout_s: float) -> frozenset[tuple[str, int, int]]:
        """Which master has which slots; of one server nothing. While it stays the same no key goes from one to another.
        Raises StoreUnavailable while a slot is on its way, or a master away."""
        return frozenset() if self._cluster is None else await self._cluster.placement(timeout_s)

    async def load_library(self) -> None:
        """Puts the function library on the server, beside those of other releases; in a cluster on every master that
        answers. An account that may not load functions is taken to find them loaded already."""
        if self._library is None:
            await self.ping()
            return
        load: Command = ("FUNCTION", "LOAD", "REPLACE", self._library.source)
        try:
            await self.execute(*load, timeout_s=self._limits.connect_timeout_s)
        except ReplyError as error:
            if not str(error).startswith("NOPERM"):
                raise

    async def ping(self) -> None:
        """Returns when the server answers, in a cluster any master; a server still loading its data raises."""
        if self._cluster is None:
            await self.execute("PING", timeout_s=self._limits.connect_timeout_s)
        else:
            await self._cluster.ping(self._limits.connect_timeout_s)

    async def close(self) -> None:
        """Gives up every connection; waiting calls fail."""
        await (self._lanes if self._cluster is None else self._cluster).close()

    async def _send(self, commands: Sequence[Command], timeout_s: float | None) -> list[Reply]:
        """The replies, where the breaker lets the call through; it hears what came of it."""
        breaker = self._breaker
        if breaker is None or not commands:
            return await self._exchanged(commands, timeout_s)
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        way = breaker.way(begun_s)
        if way is Way.OPEN:
            raise StoreUnavailable("the store hangs or is away, and is not asked")
        try:
            replies = await self._exchanged(commands, timeout_s)
        except (StoreSlow, asyncio.CancelledError):  # whoever waits no longer has a reason, if nothing comes
            if way is Way.PROBE:
                breaker.failed(way, loop.time())
            else:  # a loop that was kept busy has to read first what has come meanwhile, which it has in two turns
                loop.call_soon(loop.call_soon, self._blame, breaker)
            raise
        except StoreUnavailable:
            breaker.failed(way, loop.time())
            raise
        if timeout_s is not None or loop.time() - begun_s < STALLED_S:
            breaker.succeeded(way)
        elif way is Way.PROBE:
            breaker.failed(way, loop.time())
        return replies

    def _blame(self, breaker: CircuitBreaker) -> None:
        """A call was given up: the server's failure, if it still owes a reply for too long."""
        now_s = asyncio.get_running_loop().time()
        if self._lanes.overdue_s(now_s) >= STALLED_S:
            breaker.failed(Way.CLOSED, now_s)

    async def _exchanged(self, commands: Sequence[Command], timeout_s: float | None) -> list[Reply]:
        if not commands:
            return []
        servers = self._cluster or self._lanes
        # Callers that gave up still have replies due, so what the connections wait for counts too.
        waiting = max(self._in_flight, servers.waiting)
        if waiting and waiting + len(commands) > self._limits.max_in_flight:
            raise StoreUnavailable(f"{waiting} commands are waiting for the store already")
        timeout = self._limits.timeout_s if timeout_s is None else timeout_s
        self._in_flight += len(commands)
        try:
            if self._cluster is not None:
                return await self._cluster.send(commands, timeout)
            lane = self._lanes.next()
            if not lane.ready:
                await lane.connect(timeout)
            replies = await lane.send(commands, timeout)  # a future, not a coroutine: one step less a call
        finally:
            self._in_flight -= len(commands)
        for reply in replies:
            if isinstance(reply, ReplyError) and not_serving(reply):
                if str(reply).startswith("READONLY"):
                    lane.give_up()  # a replica now: whoever is master has to be looked for
                raise StoreUnavailable(str(reply)) from reply
        return replies


def address_of(url: str) -> Address:
    """The address a store URL gives, but a cluster's. Raises SettingsInvalid."""
    scheme = url.partition("://")[0]
    return SentinelAddress.parse(url) if scheme in SENTINEL_SCHEMES else RedisAddress.parse(url)


def _no_function(reply: ReplyError) -> bool:
    return "Function not found" in str(reply)
