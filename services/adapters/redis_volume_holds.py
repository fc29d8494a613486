"""What stands in the store about volumes beside the leases: holds that wait for a response, and what is left."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.adapters.redis_client import Argument, RedisClient, Reply
from services.adapters.redis_volume_leases import VolumeKeys
from services.ports import StoreUnavailable

Partition = tuple[str, int]
"""Topic and partition."""
_HELD_MOST, _HELD_PAGE = 20_000, 2_000
"""Holds that are added up for whoever looks at volumes, and how many of them in one answer of the store."""


class HoldChange(Protocol):
    """A hold of units of a pool for a tracked option begins, to be released at its deadline (epoch milliseconds); or,
    without one, it has come true."""

    @property
    def tracking_id(self) -> str: ...

    @property
    def pool(self) -> str: ...

    @property
    def units(self) -> int: ...

    @property
    def deadline_ms(self) -> int | None: ...


class PoolTerms(Protocol):
    """A pool: its amount, when its period ends (epoch milliseconds), and whether the log reaches back to its begin."""

    @property
    def pool(self) -> str: ...

    @property
    def amount(self) -> int: ...

    @property
    def ends_ms(self) -> int: ...

    @property
    def known(self) -> bool: ...


class RedisVolumeHolds:
    """Holds by deadline, exactly once for each record of the log. Raises StoreUnavailable."""

    def __init__(self, client: RedisClient, keys: VolumeKeys) -> None:
        self._client = client
        self._keys = keys

    def pool(self, volume: str, period: str) -> str:
        """The name of a volume's pool in a period."""
        return self._keys.pool(volume, period)

    async def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The next offset wanted of each partition; 0 where nothing was read, or what was read is lost."""
        if not partitions:
            return {}
        fields = [_field(partition) for partition in partitions]
        reply = await self._client.execute("HMGET", self._keys.offsets, *fields)
        values = reply if isinstance(reply, list) else []
        return {
            partition: int(value) if isinstance(value, bytes) else 0
            for partition, value in zip(partitions, values, strict=True)
        }

    async def apply(
        self,
        partition: Partition,
        offsets: tuple[int, int],
        forget_ms: int,
        changes: Sequence[HoldChange],
        handed_out: Mapping[str, int],
    ) -> int:
        """Applies what the records of a partition say, whose reader stands at the first of `offsets` and then at the
        second; `handed_out` are the units of each pool. Answers the next offset wanted; where that is not the second,
        nothing was done. Responses that came before their decision are remembered until `forget_ms`."""
        arguments: list[Argument] = [_field(partition), *offsets, forget_ms, len(handed_out)]
        for pool, units in handed_out.items():
            arguments += (pool, units)
        for change in changes:
            # The functions read the last two words.
            member = f"{change.tracking_id} {change.pool} {change.units}"
            arguments += ("-", member) if change.deadline_ms is None else ("+", f"{change.deadline_ms} {member}")
        keys = (self._keys.pending, self._keys.answered, self._keys.offsets, self._keys.whole)
        return _integer(await self._call("kairos_volume_hold", keys, arguments))

    async def release(self, until_ms: int) -> int:
        """Gives back the units of holds whose deadline has passed by then; how many."""
        keys = (self._keys.pending, self._keys.answered)
        return _integer(await self._call("kairos_volume_release", keys, (until_ms,)))

    async def left(self, pools: Sequence[str]) -> dict[str, int]:
        """The units of each pool that nobody has charged; a pool that does not exist is left out."""
        reply = await self._call("kairos_volume_standing", (self._keys.registry, *pools), ())
        numbers = [_integer(item) for item in reply] if isinstance(reply, list) else []
        return {pool: units for pool, units in zip(pools, numbers, strict=True) if units >= 0}

    async def held(self) -> dict[str, int] | None:
        """The units of each pool under a hold that waits for a response; None where nobody reads the log for holds, and
        where there are too many to add up without keeping others waiting."""
        found: dict[str, int] = {}
        if await self._client.execute("EXISTS", self._keys.offsets) == 0:
            return None
        if _integer(await self._client.execute("ZCARD", self._keys.pending)) > _HELD_MOST:
            return None
        for first in range(0, _HELD_MOST, _HELD_PAGE):
            page = await self._client.execute("ZRANGE", self._keys.pending, first, first + _HELD_PAGE - 1)
            members = page if isinstance(page, list) else []
            for member in members:
                _, pool, units = (member if isinstance(member, bytes) else b"").decode().rsplit(" ", 2)
                found[pool] = found.get(pool, 0) + int(units)
            if len(members) < _HELD_PAGE:
                break
        return found

    async def is_open(self) -> bool:
        """Whether anything is leased."""
        return await self._client.execute("EXISTS", self._keys.whole) == 1

    async def open(self, standing: Mapping[Partition, int], pools: Sequence[PoolTerms]) -> int | None:
        """The log is read to its end, to these offsets: takes out of the pools what it says was handed out and they
        still have, and lets them be leased. How many units that were; None where the store stands elsewhere."""
        arguments: list[Argument] = [len(standing)]
        for partition, offset in standing.items():
            arguments += (_field(partition), offset)
        for pool in pools:
            arguments += (pool.amount, pool.ends_ms, 1 if pool.known else 0)
        keys = (self._keys.registry, self._keys.whole, self._keys.offsets, *(pool.pool for pool in pools))
        taken = _integer(await self._call("kairos_volume_open", keys, arguments))
        return None if taken < 0 else taken

    async def _call(self, function: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Reply:
        return await self._client.call(function, keys, arguments)


def _field(partition: Partition) -> str:
    topic, number = partition
    return f"{topic}/{number}"


def _integer(reply: Reply) -> int:
    if isinstance(reply, int):
        return reply
    raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a number was due")
