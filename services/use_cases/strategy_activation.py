"""Making a version the one that decides: only over states that hold what the log holds."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from event_schemas.codec import encode
from event_schemas.control import StrategyAct, StrategyActivated, StrategyRolledBack
from event_schemas.topics import CONTROL
from services.ports import EventPublisher, IdFactory, NamespaceUse, OutgoingEvent
from services.use_cases.live_strategy import ACTIVE_SUBJECT, SwitchRefused

Partition = tuple[str, int]
"""Topic and partition."""
Announced = type[StrategyActivated] | type[StrategyRolledBack]
"""What a switch is: to something else, or back."""
CURRENT_SECONDS = 2.0
"""States are current when they hold what the log held so long ago."""
_LOOK_SECONDS = 0.1


class Namespaces(Protocol):
    """What the store says of layouts. Raises StoreUnavailable."""

    async def is_whole(self, layout: str) -> bool: ...

    async def held(self, layout: str, partitions: Mapping[Partition, int]) -> dict[Partition, int]: ...

    async def in_use(self) -> list[NamespaceUse]: ...


class LogEnds(Protocol):
    """Where the log ends now. Raises BusUnavailable."""

    async def end_offsets(self) -> Mapping[Partition, int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A strategy version and the layout of its states."""

    name: str
    version: str
    layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivateStrategy:
    """Publishes that a version decides from now on, after asking whether it can."""

    namespaces: Namespaces
    log: LogEnds
    publisher: EventPublisher
    ids: IdFactory

    async def behind(self, layout: str, ends: Mapping[Partition, int] | None = None) -> int:
        """How many records the states lack of the log as it ends now, or of these ends. Raises StoreUnavailable,
        BusUnavailable."""
        asked = await self.log.end_offsets() if ends is None else ends
        held = await self.namespaces.held(layout, asked)
        return sum(max(0, end - held[partition]) for partition, end in asked.items())

    async def is_current(self, layout: str) -> bool:
        """Whether the states come to hold, within `CURRENT_SECONDS`, what the log holds now. Raises StoreUnavailable,
        BusUnavailable."""
        ends, waited = await self.log.end_offsets(), 0.0
        while await self.behind(layout, ends):
            if waited >= CURRENT_SECONDS:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
            waited += _LOOK_SECONDS
        return True

    async def __call__(
        self,
        version: Version,
        actor: str,
        previous: str | None,
        comment: str | None = None,
        announced: Announced = StrategyActivated,
    ) -> None:
        """Raises SwitchRefused, having published nothing; StoreUnavailable, BusUnavailable."""
        if not await self.namespaces.is_whole(version.layout):
            raise SwitchRefused(
                f"{version.version}: the states of its layout {version.layout} are not whole; "
                "kairos rebuild states makes them"
            )
        if not await self.is_current(version.layout):
            raise SwitchRefused(
                f"{version.version}: the states of its layout {version.layout} lack "
                f"{await self.behind(version.layout):,} events of the log; kairos rebuild states catches up"
            )
        act = StrategyAct(
            name=version.name, version=version.version, actor=actor, comment=comment, previous_version=previous
        )
        event = announced(
            id=self.ids.new_id(), source="kairos/rebuild", subject=ACTIVE_SUBJECT, time=datetime.now(UTC), data=act
        )
        await self.publisher.publish([OutgoingEvent(topic=CONTROL, key=ACTIVE_SUBJECT, value=encode(event))])

    async def elsewhere(self, version: str) -> list[NamespaceUse]:
        """The API nodes that do not serve the version yet. Raises StoreUnavailable."""
        return [use for use in await self.namespaces.in_use() if use.role == "api" and use.version != version]
