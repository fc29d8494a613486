"""The desk of governance over open connections: for the API's nodes, and for commands that act."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from services.adapters.control_topic import ControlStream, ControlTopic, NodeIdentity
from services.adapters.file_strategy_source import load_strategy_texts, strategy_document
from services.adapters.redis_chain_head import RedisChainHead
from services.adapters.redis_client import RedisClient
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_simulations import RedisSimulations
from services.adapters.simulation_process import SimulationProcess
from services.adapters.strategy_files import CheckedStrategyFiles, KeptSubmissions
from services.adapters.strategy_versions import StrategyVersions
from services.adapters.ulid_ids import UlidIds
from services.ports import Delivery, EventPublisher, Metrics, StoreUnavailable
from services.settings import Settings
from services.use_cases.governance.chain import SUBMITTED, Head, is_chained
from services.use_cases.governance.desk import DeskTerms, GovernanceDesk
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.governance.simulations import Simulations
from services.use_cases.governance.writer import ChainWriter, HeadKeeper, OnHead
from services.use_cases.strategy_activation import ActivateStrategy, LogEnds, Partition, Version

_log = logging.getLogger(__name__)

OpenEnds = Callable[[], AbstractAsyncContextManager[LogEnds]]
"""A reader of the topics that states are folded from."""


OpenActs = Callable[[], AbstractAsyncContextManager[ControlStream]]
"""A reader of the control topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskAccess:
    """What the desk asks of strategies: `serving` is what decides where nothing was ever activated; `read` says what a
    kept version is called and which layout its states have, and raises StrategyUnknown."""

    serving: str
    read: Callable[[str], Awaitable[Version]]
    open_ends: OpenEnds
    open_acts: OpenActs
    identity: Callable[[], NodeIdentity]
    """Of who reads the acts for the audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """The desk with what it needs: the log, to be followed by whoever reads the control topic; what keeps submissions
    here; and simulations, to be closed."""

    acts: GovernanceLog
    submissions: KeptSubmissions
    desk: GovernanceDesk
    simulations: Simulations
    audit: "AuditOverBus"


def governance_over(
    settings: Settings, publisher: EventPublisher, client: RedisClient, versions: StrategyVersions, access: DeskAccess
) -> Governance:
    """Everything of governance over these connections."""
    acts, submissions, ids = GovernanceLog(), KeptSubmissions(versions), UlidIds()
    acts.subscribe(SUBMITTED, submissions.on_submitted)
    head = RedisChainHead(client, settings.namespace)
    writer = ChainWriter(log=acts, publisher=publisher, ids=ids, on_head=keeping(head))
    namespaces = RedisNamespaces(client, settings.namespace)
    activate = ActivateStrategy(namespaces=namespaces, log=_EndsOnDemand(access.open_ends), writer=writer)

    async def ready(version: str) -> None:
        await submissions.settled()  # it may have been submitted a moment ago
        await activate.require_ready(await access.read(version))

    terms = DeskTerms(serving=lambda: access.serving, requires_simulation=settings.governance_requires_simulation)
    files = CheckedStrategyFiles(versions, load_strategy_texts, strategy_document)
    desk = GovernanceDesk(acts, writer, files, ready, terms)
    work = SimulationProcess(
        archive=settings.archive_path, models=settings.model_path, attribution_seconds=settings.attribution_seconds
    )
    simulations = Simulations(desk, RedisSimulations(client, settings.namespace), work, ids)
    audit = AuditOverBus(access.open_acts, publisher, access.identity, head)
    return Governance(acts=acts, submissions=submissions, desk=desk, simulations=simulations, audit=audit)


async def read_chain(open_acts: OpenActs, publisher: EventPublisher, identity: NodeIdentity) -> list[bytes | None]:
    """The records of the chain, in their order, as they stand on the bus. Raises BusUnavailable, ControlUnread."""
    found: list[bytes | None] = []

    async def on_record(delivery: Delivery) -> None:
        if is_chained(delivery):
            found.append(delivery.value)

    async with open_acts() as stream, ControlTopic(stream, publisher, identity, on_record=on_record):
        return list(found)


@dataclass(frozen=True, slots=True)
class AuditOverBus:
    """Implements `governance.audit.AuditLog`: the topic is read whole for each question, which audits ask rarely."""

    open_acts: OpenActs
    publisher: EventPublisher
    identity: Callable[[], NodeIdentity]
    head: HeadKeeper

    async def records(self) -> list[bytes | None]:
        """The chain as it stands on the bus. Raises BusUnavailable, ControlUnread."""
        return await read_chain(self.open_acts, self.publisher, self.identity())

    async def kept_head(self) -> Head | None:
        """As the store has it. Raises StoreUnavailable."""
        return await self.head.kept()


def keeping(kept: HeadKeeper) -> OnHead:
    """Keeps each new head in the store and says it in the log, which goes elsewhere: each tells by itself when the
    last acts are missing."""

    async def keep(head: Head) -> None:
        _log.info("the chain of acts ends at %d: %s", head.sequence, head.hash, extra={"action": "governance"})
        try:
            await kept.keep(head, datetime.now(UTC))
        except StoreUnavailable as error:
            _log.warning("head %d of the chain is not kept: %s", head.sequence, error, extra={"action": "governance"})

    return keep


def measured(log: GovernanceLog, metrics: Metrics) -> None:
    """Has the metrics say how far the chain goes, and whether it is sound."""

    def tell(_: object) -> None:
        metrics.gauge("governance_acts", log.head.sequence)
        metrics.gauge("governance_faults", len(log.state.faults))

    log.listen(tell)


class _EndsOnDemand:
    """Where the log ends, from a connection that lasts for one question: acts are rare."""

    def __init__(self, open_ends: OpenEnds) -> None:
        self._open = open_ends

    async def end_offsets(self) -> Mapping[Partition, int]:
        async with self._open() as log:
            return await log.end_offsets()
