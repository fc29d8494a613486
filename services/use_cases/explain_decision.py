"""Why a decision came out as it did: its record, wherever it is kept, and the proof that it can be computed again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from decision_engine.identifiers import DecisionId
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from services.ports import DecisionStore, ShellError
from services.use_cases.decision_record import models_used, replay_decision

LoadScorers = Callable[[Mapping[str, str]], Scorers]
"""The scorers of these versions by model name."""


class DecisionUnknown(ShellError):
    """No record of this decision is kept, neither in the store nor in the archive."""


class ArchivedDecisions(Protocol):
    """Decision records that the store has let go of."""

    async def read_decision(self, decision_id: str) -> bytes | None:
        """The `nbo.decision.made` event as published."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A decision computed again: whether every byte agrees, and the bytes."""

    record: bytes
    recomputed: bytes

    @property
    def identical(self) -> bool:
        """True when the recomputed record is the stored one, byte for byte."""
        return self.record == self.recomputed

    @property
    def first_difference(self) -> int | None:
        """The offset of the first byte that differs."""
        if self.identical:
            return None
        pairs = enumerate(zip(self.record, self.recomputed, strict=False))
        shorter = min(len(self.record), len(self.recomputed))
        return next((place for place, (kept, again) in pairs if kept != again), shorter)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainDecision:
    """Finds records, first in the store, then in the archive."""

    store: DecisionStore
    archive: ArchivedDecisions | None = None

    async def __call__(self, decision_id: DecisionId) -> bytes:
        """The record. Raises DecisionUnknown, StoreUnavailable."""
        record = await self.store.record(decision_id)
        if record is None and self.archive is not None:
            record = await self.archive.read_decision(decision_id)
        if record is None:
            raise DecisionUnknown(f"no record of decision {decision_id} is kept")
        return record

    async def replay(self, decision_id: DecisionId, prepared: PreparedStrategy, load: LoadScorers) -> Replay:
        """The record beside its recomputation with the model versions it names.

        Raises DecisionUnknown, RecordUnreadable, ReplayImpossible, StoreUnavailable.
        """
        record = await self(decision_id)
        return Replay(record=record, recomputed=replay_decision(record, prepared, load(models_used(record))))
