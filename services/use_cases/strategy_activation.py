"""Making a version the one that decides: only over states that hold what the log holds."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from event_schemas.control import StrategyAct, StrategyActivated, StrategyRolledBack
from services.ports import NamespaceUse
from services.use_cases.governance import acts
from services.use_cases.governance.chain import ChainedEvent
from services.use_cases.governance.state import GovernanceState
from services.use_cases.governance.writer import ChainWriter
from services.use_cases.live_strategy import SwitchRefused

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
    """Puts in the chain of acts that a version decides from now on, after asking whether it can."""

    namespaces: Namespaces
    log: LogEnds
    writer: ChainWriter

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
        """Raises SwitchRefused, ActRefused, having published nothing; StoreUnavailable, BusUnavailable."""
        await self.require_ready(version)
        act = acts.with_previous(
            StrategyAct(name=version.name, version=version.version, actor=actor, comment=comment), previous
        )

        def compose(_: GovernanceState, event_id: str) -> ChainedEvent:
            made = acts.activated if announced is StrategyActivated else acts.rolled_back
            return made(act, event_id, datetime.now(UTC), source="kairos/rebuild")

        await self.writer.write(compose)

    async def require_ready(self, version: Version) -> None:
        """Raises SwitchRefused where its states are not whole or lack what the log holds; StoreUnavailable,
        BusUnavailable."""
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

    async def elsewhere(self, version: str) -> list[NamespaceUse]:
        """The API nodes that do not serve the version yet. Raises StoreUnavailable."""
        return [use for use in await self.namespaces.in_use() if use.role == "api" and use.version != version]
