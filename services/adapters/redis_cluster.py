"""Commands to the masters of a Redis Cluster, each to the one that has its slot.

The map of slots is read from the servers and read again whenever one sends elsewhere (`MOVED`), does not answer or is
gone. A slot under way to another master is asked for where it goes (`ASK`); a step over several keys of it that lie on
both sides meanwhile (`TRYAGAIN`) is tried until its time is up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import replace

from services.adapters.redis_cluster_map import (
    SCHEMES,
    ClusterAddress,
    ClusterMap,
    Place,
    newest,
    own_slots,
    redirection,
)
from services.adapters.redis_lane import ClientLimits, Command, Lanes, Reply, ReplyError, not_serving
from services.adapters.redis_pieces import EVERYWHERE, Piece, cut, joined
from services.ports import StoreSlow, StoreUnavailable

__all__ = ["SCHEMES", "Away", "RedisCluster"]
_TRY_AGAIN_S = 0.005
_LOOK_S = 0.5
"""A server that does not tell of the cluster within so long is passed over."""
_LOOK_PAUSE_S = 0.1
"""Between two looks at the map while servers are away."""
_log = logging.getLogger(__name__)


class Away(ReplyError):
    """The server of a command to all masters that could not be asked."""


class RedisCluster:
    """Sends commands to masters. Raises StoreUnavailable."""

    def __init__(self, address: ClusterAddress, limits: ClientLimits) -> None:
        self._address = address
        # Several masters are several connections already; fewer have fewer writes a loop turn.
        self._limits = replace(limits, lanes=1)
        self._map = ClusterMap()
        self._servers: dict[Place, Lanes] = {}
        self._newcomers: set[Place] = set()
        """Masters to be that a slot is on its way to; they are in no account yet."""
        self._look: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Replies that are due from all servers."""
        return sum([lanes.waiting for lanes in self._servers.values()])

    async def masters(self, timeout_s: float) -> list[Place]:
        """Who they are, by what the servers say now."""
        await self._looked(timeout_s)
        return self._map.masters

    async def map(self, timeout_s: float) -> ClusterMap:
        """Who has which slot, by what the servers say now."""
        await self._looked(timeout_s)
        return self._map

    async def ask(self, place: Place, command: Command, timeout_s: float) -> Reply:
        """The reply of one server."""
        (reply,) = await self._on(place, [command], timeout_s)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def everywhere(self, command: Command, timeout_s: float) -> dict[Place, Reply]:
        """The reply of each master; `Away` for one that gives none."""
        await self._looked(timeout_s)
        return await self._of_each(self._map.masters, command, timeout_s)

    async def _of_each(self, places: Sequence[Place], command: Command, timeout_s: float) -> dict[Place, Reply]:
        answers = await asyncio.gather(
            *(self._on(place, [command], timeout_s) for place in places), return_exceptions=True
        )
        replies: dict[Place, Reply] = {}
        for place, answer in zip(places, answers, strict=True):
            if isinstance(answer, StoreUnavailable):
                replies[place] = Away(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                replies[place] = answer[0]
        return replies

    async def placement(self, timeout_s: float) -> frozenset[tuple[str, int, int]]:
        """Ranges of slots by the name of their master. Raises StoreUnavailable while one is on its way."""
        found: set[tuple[str, int, int]] = set()
        for place, reply in (await self.everywhere(("CLUSTER", "NODES"), timeout_s)).items():
            if not isinstance(reply, bytes):
                raise StoreUnavailable(f"{place[0]}:{place[1]} does not tell its slots: {reply}")
            found |= own_slots(reply.decode())
        return frozenset(found)

    async def ping(self, timeout_s: float) -> None:
        """Returns when a master answers, whoever else does not."""
        if not self._map.replicas:
            await self._looked(timeout_s)
        asked = [asyncio.create_task(self._of_each([place], ("PING",), timeout_s)) for place in self._map.masters]
        said: list[str] = []
        try:
            for answer in asyncio.as_completed(asked):
                (reply,) = (await answer).values()
                if not isinstance(reply, ReplyError):
                    return
                said.append(str(reply))
        finally:
            for task in asked:
                task.cancel()
            await asyncio.wait(asked)
        raise StoreUnavailable(f"no master of the cluster answers: {'; '.join(said)}")

    async def send(self, commands: Sequence[Command], timeout_s: float) -> list[Reply]:
        """The replies in the order of the commands, one round trip to each master concerned, as long as no slot
        moves."""
        if commands[0][0] in EVERYWHERE:
            return [await self._to_all(command, timeout_s) for command in commands]
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        if not self._map.replicas:
            await self._looked(timeout_s)
        pieces = cut(commands)
        replies: list[Reply] = [None] * len(pieces)
        undone, asking = list(range(len(pieces))), dict[int, Place]()
        while undone:
            undone, asking, settled = await self._round(pieces, replies, (undone, asking), until - loop.time())
            if undone and loop.time() >= until:
                raise StoreSlow(f"a slot of the cluster was on its way for {timeout_s:.3f} s")
            if undone and not settled:
                await asyncio.sleep(_TRY_AGAIN_S)
        for reply in replies:
            if isinstance(reply, ReplyError) and not_serving(reply):
                self._look_again()
                raise StoreUnavailable(str(reply)) from reply
        return joined(commands, pieces, replies)

    async def close(self) -> None:
        """Gives up every connection; waiting calls fail."""
        self._closed = True
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait({self._look})
        for lanes in list(self._servers.values()):
            await lanes.close()

    async def _to_all(self, command: Command, timeout_s: float) -> Reply:
        """What the masters agree on; one that is away does not count unless all are."""
        await self._looked(timeout_s)
        places = list(dict.fromkeys([*self._map.masters, *self._newcomers]))
        replies = list((await self._of_each(places, command, timeout_s)).values())
        for reply in replies:
            if isinstance(reply, ReplyError) and not isinstance(reply, Away):
                return reply
        answered = [reply for reply in replies if not isinstance(reply, Away)]
        if not answered or (len(answered) < len(replies) and command[0] != "FUNCTION"):
            raise StoreUnavailable("; ".join(str(reply) for reply in replies if isinstance(reply, Away)))
        return answered[0]

    async def _round(
        self,
        pieces: Sequence[Piece],
        replies: list[Reply],
        due: tuple[list[int], dict[int, Place]],
        timeout_s: float,
    ) -> tuple[list[int], dict[int, Place], bool]:
        """Sends the pieces that are due, each to its owner or to where it was sent on. Answers which are to be sent
        again, whither, and whether it is known whither."""
        undone, asking = due
        by_place: dict[Place, list[int]] = {}
        for index in undone:
            by_place.setdefault(asking.get(index) or self._owner(pieces[index].slot), []).append(index)
        sent = [self._begin(place, _with_asking(pieces, own, asking), timeout_s) for place, own in by_place.items()]
        again, ask, settled = list[int](), dict[int, Place](), True
        for (place, own), answers in zip(by_place.items(), await self._all_of(sent), strict=True):
            told = iter(answers)
            for index in own:
                reply = next(told) if index not in asking else (next(told), next(told))[1]
                if not isinstance(reply, ReplyError) or not _sends_on(reply):
                    replies[index] = reply
                    continue
                again.append(index)
                if str(reply).startswith("TRYAGAIN"):
                    settled = False
                    continue
                slot, elsewhere = redirection(str(reply), place)
                if str(reply).startswith("ASK"):
                    ask[index] = elsewhere
                    self._newcomers.add(elsewhere)
                else:
                    settled = settled and self._map.owners[slot] == place != elsewhere
                    self._map.owners[slot] = elsewhere
                    self._look_again()
        return sorted(again), ask, settled

    def _begin(self, place: Place, commands: list[Command], timeout_s: float) -> Awaitable[list[Reply]]:
        lane = self._lanes(place).next()
        return lane.send(commands, timeout_s) if lane.ready else self._on(place, commands, timeout_s)

    async def _on(self, place: Place, commands: list[Command], timeout_s: float) -> list[Reply]:
        lane = self._lanes(place).next()
        try:
            if not lane.ready:
                await lane.connect(timeout_s)
            return await lane.send(commands, timeout_s)
        except StoreUnavailable:
            self._look_again()
            raise

    async def _all_of(self, sent: Sequence[Awaitable[list[Reply]]]) -> list[list[Reply]]:
        """The answers of several servers; where one gives none, it is asked who has its slots now."""
        try:
            if len(sent) == 1:
                return [await sent[0]]
            answers = await asyncio.gather(*sent, return_exceptions=True)
        except StoreUnavailable:
            self._look_again()
            raise
        for answer in answers:
            if isinstance(answer, BaseException):
                self._look_again()
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def _owner(self, slot: int) -> Place:
        owner = self._map.owners[slot]
        if owner is None:
            self._look_again()
            raise StoreUnavailable(f"nobody in the cluster at {self._address} serves slot {slot}")
        return owner

    def _lanes(self, place: Place) -> Lanes:
        lanes = self._servers.get(place)
        if lanes is None:
            lanes = self._servers[place] = Lanes(self._address.at(place), self._limits)
        return lanes

    # The map

    def _look_again(self) -> None:
        """Reads the map once more, soon, while everything else goes on."""
        loop = asyncio.get_running_loop()
        if self._look is None and not self._closed and loop.time() >= self._not_before:
            self._look = loop.create_task(self._read_map())

    async def _looked(self, timeout_s: float) -> None:
        """Returns when the map has been read. Raises StoreUnavailable while nobody tells."""
        if self._look is None:
            self._look = asyncio.get_running_loop().create_task(self._read_map())
        await asyncio.wait({self._look}, timeout=max(timeout_s, 0.001))
        if not self._map.replicas:
            raise StoreUnavailable(f"no server of the cluster at {self._address} tells who has which slots")

    async def _read_map(self) -> None:
        try:
            asked = dict.fromkeys([*self._map.masters, *self._address.seeds])
            found = newest(await asyncio.gather(*map(self._told, asked)))
            if found is None:
                others = [place for replicas in self._map.replicas.values() for place in replicas]
                found = newest(await asyncio.gather(*map(self._told, others)))
            if found is not None and found.epoch >= self._map.epoch:
                self._map = found
                self._newcomers -= found.replicas.keys()
        finally:
            self._look = None
            self._not_before = asyncio.get_running_loop().time() + _LOOK_PAUSE_S

    async def _told(self, place: Place) -> ClusterMap | None:
        lane = self._lanes(place).next()
        with suppress(StoreUnavailable):
            if not lane.ready:
                await lane.connect(_LOOK_S)
            slots, info = await lane.send([("CLUSTER", "SLOTS"), ("CLUSTER", "INFO")], _LOOK_S)
            if isinstance(slots, ReplyError):
                _log.warning("%s:%d tells nothing of the cluster: %s", *place, slots, extra={"action": "check the URL"})
            return ClusterMap.read(slots, info, place)
        return None


def _with_asking(pieces: Sequence[Piece], indexes: Sequence[int], asking: dict[int, Place]) -> list[Command]:
    commands: list[Command] = []
    for index in indexes:
        if index in asking:
            commands.append(("ASKING",))
        commands.append(pieces[index].command)
    return commands


def _sends_on(reply: ReplyError) -> bool:
    return str(reply).startswith(("MOVED ", "ASK ", "TRYAGAIN"))
