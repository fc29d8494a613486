"""Why a decision came out as it did: its record, wherever it is kept, and the proof that it can be computed again."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from decision_engine.identifiers import DecisionId
from decision_engine.prepared import PreparedStrategy
from services.ports import DecisionStore, ShellError, StrategyUnknown, StrategyVersions
from services.use_cases.decision_record import expanded_record, record_data
from services.use_cases.decision_replay import LoadScorers, Replay, Replayer


class DecisionUnknown(ShellError):
    """No record of this decision is kept, neither in the store nor in the archive."""


class ArchiveBusy(ShellError):
    """As many reads of the archive are waiting as may."""


class ArchivedDecisions(Protocol):
    """Decision records that the store has let go of. Raises ArchiveBusy."""

    async def read_decision(self, decision_id: str) -> bytes | None:
        """The `nbo.decision.made` event as published."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingStrategies:
    """The strategies a record may name: the one at hand, and all that decided before it."""

    at_hand: Callable[[], PreparedStrategy]
    kept: StrategyVersions | None = None

    async def of(self, record: bytes) -> PreparedStrategy:
        """The strategy that made this decision. Raises StrategyUnknown, RecordUnreadable."""
        version = str(record_data(record).get("strategy_version"))
        current = self.at_hand()
        if version == current.strategy.version:
            return current
        if self.kept is None:
            raise StrategyUnknown(f"strategy {version} is not kept")
        return await asyncio.to_thread(self.kept.prepared, version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A record with every candidate written out, and the strategy that decided, which has the words."""

    data: Mapping[str, object]
    prepared: PreparedStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainDecision:
    """Finds records, first in the store, then in the archive."""

    store: DecisionStore
    strategies: DecidingStrategies
    archive: ArchivedDecisions | None = None

    async def __call__(self, decision_id: DecisionId) -> Explanation:
        """Every candidate of the decision and why it ended as it did.

        Raises DecisionUnknown, StrategyUnknown, RecordUnreadable, CodedCandidatesUnreadable, StoreUnavailable.
        """
        return await self.explained(await self.record(decision_id))

    async def explained(self, record: bytes) -> Explanation:
        """A record, written out. Raises StrategyUnknown, RecordUnreadable, CodedCandidatesUnreadable."""
        prepared = await self.strategies.of(record)
        return Explanation(data=expanded_record(record, prepared), prepared=prepared)

    async def record(self, decision_id: DecisionId) -> bytes:
        """The event as published. Raises DecisionUnknown, ArchiveBusy, StoreUnavailable."""
        record = await self.store.record(decision_id)
        if record is None and self.archive is not None:
            record = await self.archive.read_decision(decision_id)
        if record is None:
            raise DecisionUnknown(f"no record of decision {decision_id} is kept")
        return record

    async def replay(self, decision_id: DecisionId, load: LoadScorers) -> Replay:
        """The record beside its recomputation with the strategy and the model versions it names.

        Raises DecisionUnknown, StrategyUnknown, RecordUnreadable, ReplayImpossible, StoreUnavailable.
        """
        record = await self.record(decision_id)
        prepared = await self.strategies.of(record)
        return Replayer(lambda _: prepared, load).replay(record)
