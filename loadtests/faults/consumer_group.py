"""What the broker says of a consumer group: who its members are, how often they changed, what they have committed."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

_POLL_S = 0.05
_STABLE = "Stable"
Members = frozenset[tuple[str, bytes]]
"""Each by its id, with the partitions it was given."""


class ConsumerGroup:
    """One group, looked at again and again. What is over between two looks is not seen: there are no fewer rebalances
    than it counts."""

    def __init__(self, admin: AIOKafkaAdminClient, name: str) -> None:
        self._admin = admin
        self._name = name
        self._settled: Members = frozenset()
        self._is_settling = False
        self.rebalances = 0
        """How often the group was found settled anew since it was first: after it was not, or with other members."""

    @staticmethod
    @asynccontextmanager
    async def watched(bootstrap_servers: str, name: str) -> "AsyncIterator[ConsumerGroup]":
        """Looks at it while the context lasts."""
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
        await admin.start()
        group = ConsumerGroup(admin, name)
        watching = asyncio.create_task(group._watch(), name="group")
        try:
            yield group
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await admin.close()

    async def until_changed(self, since: int, members: int) -> None:
        """Returns once there was another rebalance than these and the group has settled on so many members."""
        while self.rebalances <= since or len(self._settled) != members:  # noqa: ASYNC110 - it is only told when asked
            await asyncio.sleep(_POLL_S)

    async def committed(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Of these topics and partitions the next offset that the group has committed; -1 where none."""
        asked = [TopicPartition(*place) for place in places]
        found = await self._admin.list_consumer_group_offsets(self._name, partitions=asked)
        return {(place.topic, place.partition): told.offset for place, told in found.items()}

    async def _watch(self) -> None:
        while True:
            with suppress(KafkaError, OSError):
                self._note(await self._described())
            await asyncio.sleep(_POLL_S)

    async def _described(self) -> Members | None:
        """The members, or None while they are being agreed on."""
        told = await self._admin.describe_consumer_groups([self._name])
        for group in told[0].groups:
            _, name, state, _, _, members = group[:6]
            if name == self._name and state == _STABLE:
                return frozenset((member[0], bytes(member[4] or b"")) for member in members)
        return None

    def _note(self, members: Members | None) -> None:
        if members is None:
            self._is_settling = True
        elif self._is_settling or members != self._settled:
            self.rebalances += bool(self._settled)
            self._settled, self._is_settling = members, False
