"""A decision computed again, and why a model gave a candidate the chance it gave."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from decision_engine.seating import ReservationMismatch
from services.ports import ShellError
from services.use_cases.decision_record import record_data
from services.use_cases.decision_replay import Replayer
from services.use_cases.short_turns import short_turns

Done = TypeVar("Done")
_AROUND = 60
"""Bytes shown to either side of a difference."""


class ScoreUnexplained(ShellError):
    """No trees scored the candidate, or they are not to be had. `reason` is one of `prior`, `no_trees`, `not_kept`,
    `not_personalised`, `unknown_offer`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePart:
    """What one input added to a score: in log-odds, and to the probability. `source` is `attribute`, `context` or
    `offer`; `missing` where the input had no value."""

    column: str
    source: str
    value: str
    missing: bool
    margin: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParts:
    """A score taken apart: the average row's probability, what every input added, in order of size, and the
    probability. The parts add up to it exactly."""

    model: str
    version: str
    average_probability: float
    probability: float
    parts: tuple[ScorePart, ...]


class RegisteredModels(Protocol):
    """Model versions as they are registered, whatever is live; reads files, so not for the event loop."""

    def scorers(self, used: Mapping[str, str]) -> Scorers:
        """The scorers of these versions by model name. Raises ReplayImpossible."""
        ...

    def score_parts(self, record: bytes, prepared: PreparedStrategy, offer: str) -> ScoreParts:
        """Why the offer was given its chance in this decision. Raises ScoreUnexplained."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A decision beside its recomputation. Where they differ: the first byte, what stands around it in both, and the
    fields of the record that are not the same. `place` is None where it came out so differently that what the ledger
    reserved does not fit it, so that it has no end to compare."""

    identical: bool
    size: int
    place: int | None = None
    recorded: str = ""
    recomputed: str = ""
    fields: tuple[str, ...] = ()


class ProveDecisions:
    """Computes decisions again, one at a time and beside everything else."""

    def __init__(self, models: RegisteredModels) -> None:
        self._models = models
        self._turn = asyncio.Lock()

    async def proof(self, record: bytes, prepared: PreparedStrategy) -> Proof:
        """With the strategy and the model versions the record names. Raises RecordUnreadable, ReplayImpossible."""
        return await self._beside(lambda: _proof(record, prepared, self._models))

    async def score_parts(self, record: bytes, prepared: PreparedStrategy, offer: str) -> ScoreParts:
        """Why the offer was given its chance. Raises ScoreUnexplained."""
        return await self._beside(lambda: self._models.score_parts(record, prepared, offer))

    async def _beside(self, work: Callable[[], Done]) -> Done:
        async with self._turn:
            with short_turns():
                return await asyncio.to_thread(work)


def _proof(record: bytes, prepared: PreparedStrategy, models: RegisteredModels) -> Proof:
    try:
        replay = Replayer(lambda _: prepared, models.scorers).replay(record)
    except ReservationMismatch:
        return Proof(identical=False, size=len(record), fields=("taken",))
    place = replay.first_difference
    if place is None:
        return Proof(identical=True, size=len(record))
    around = slice(max(0, place - _AROUND), place + _AROUND)
    kept, again = record_data(replay.record), record_data(replay.recomputed)
    return Proof(
        identical=False,
        size=len(record),
        place=place,
        recorded=replay.record[around].decode(errors="replace"),
        recomputed=replay.recomputed[around].decode(errors="replace"),
        fields=tuple(name for name in {**kept, **again} if kept.get(name) != again.get(name)),
    )
