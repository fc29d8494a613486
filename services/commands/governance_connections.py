"""Open connections of a command that acts at the desk of governance, or reads its log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from event_schemas.topics import CONTROL
from services import bootstrap
from services.adapters.redis_chain_head import RedisChainHead
from services.adapters.redis_client import RedisClient
from services.adapters.strategy_versions import StrategyVersions
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import (
    load_strategy,
    node_identity,
    open_control,
    open_event_stream,
    open_publisher,
    open_strategy_versions,
)
from services.governance_wiring import read_chain
from services.settings import Settings
from services.use_cases.governance.chain import Head
from services.use_cases.governance.desk import GovernanceDesk


@dataclass(frozen=True, slots=True)
class OpenDesk:
    """The desk, the archive of strategies it keeps, and the chain's head as the store keeps it."""

    desk: GovernanceDesk
    versions: StrategyVersions
    head: RedisChainHead


@asynccontextmanager
async def open_governance(settings: Settings) -> AsyncIterator[OpenDesk]:
    """The desk over the whole log of acts, followed while the context lasts. Raises BusUnavailable, ControlUnread,
    StoreUnavailable, StrategyInvalid."""
    versions = open_strategy_versions(settings)
    loaded = await asyncio.to_thread(load_strategy, settings)
    serving = loaded.strategy.version
    await asyncio.to_thread(versions.register, serving, settings.strategy_path)
    async with RedisClient.open(settings.redis_url) as client, open_publisher(settings) as publisher:
        governance = bootstrap.open_governance(settings, publisher, client, versions, serving)
        identity = node_identity("governance", UlidIds())
        async with open_control(settings, publisher, {}, identity, acts=governance.acts):
            await governance.submissions.settled()
            yield OpenDesk(governance.desk, versions, RedisChainHead(client, settings.namespace))
            await governance.submissions.settled()


async def chain_records(settings: Settings) -> list[bytes | None]:
    """The records of the chain, in their order, as they stand on the bus. Raises BusUnavailable, ControlUnread."""
    async with open_publisher(settings) as publisher:
        identity = node_identity("audit", UlidIds())
        return await read_chain(lambda: open_event_stream(settings, [CONTROL]), publisher, identity)


async def kept_head(settings: Settings) -> Head | None:
    """How far the chain went, as the store has it. Raises StoreUnavailable."""
    async with RedisClient.open(settings.redis_url) as client:
        return await RedisChainHead(client, settings.namespace).kept()
