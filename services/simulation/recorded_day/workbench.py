"""What one process holds while a day is simulated, and the tasks it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from decision_engine.propensity import Scorer
from models.decision_log.archive_files import ArchiveFile
from models.errors import ModelsError
from models.fast_scoring import interpreted_scorer
from models.registry import ModelRegistry
from services.simulation.recorded_day.day_partition import DayPartition, PartitionTerms
from services.simulation.recorded_day.failures import SimulationRefused
from services.simulation.recorded_day.partition_totals import PartitionTotals
from services.simulation.recorded_day.sides import SharedSides, Side, SideTerms
from services.simulation.recorded_day.sorted_archive import DaySpan, Neighbourhoods, SortedFile, sort_file
from services.simulation.recorded_day.volumes_then import Shares, Use

Tell = Callable[[int], None]
"""Told how much more is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTerms:
    """The two sides, and where their models are."""

    sides: tuple[SideTerms, ...]
    models: Path


@dataclass(slots=True)
class Workbench:
    """The sides made ready once, and the partitions under way."""

    terms: BenchTerms
    partitions: dict[int, DayPartition] = field(default_factory=dict)
    _sides: SharedSides | None = None

    def sides(self) -> SharedSides:
        """The sides, made when first asked for."""
        if self._sides is None:
            load = _loader(self.terms.models)
            self._sides = SharedSides({terms.name: Side(terms, load) for terms in self.terms.sides})
        return self._sides


class Task(Protocol):
    """Something to do at a workbench. What it answers, and itself, can be sent from process to process."""

    def __call__(self, bench: Workbench, tell: Tell, /) -> object: ...


@dataclass(frozen=True, slots=True)
class SortFile:
    """Sorts one file of the archive into partitions."""

    file: ArchiveFile
    span: DaySpan
    folder: Path
    neighbourhoods: Neighbourhoods
    partitions: int

    def __call__(self, _: Workbench, tell: Tell) -> SortedFile:
        """How much there was."""
        found = sort_file(
            self.file,
            self.span,
            self.folder,
            lambda subject: self.neighbourhoods.partition_of(subject, self.partitions),
        )
        tell(found.rows)
        return found


@dataclass(frozen=True, slots=True)
class Opened:
    """What a partition has to do: when its requests were made, and by side the units of volumes used before."""

    times: list[int]
    used_before: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class OpenPartition:
    """Reads a partition and folds its customers' history."""

    number: int
    terms: PartitionTerms

    def __call__(self, bench: Workbench, tell: Tell) -> Opened:
        """What there is to do."""
        partition = bench.partitions[self.number] = DayPartition(self.number, self.terms, bench.sides())
        tell(1)
        return Opened(partition.request_times, {name: partition.used_before(name) for name in bench.sides().sides})


@dataclass(frozen=True, slots=True)
class RunSlice:
    """Simulates a partition until a moment, with these shares of the volumes by side."""

    number: int
    until_ms: int
    shares: Mapping[str, Shares]

    def __call__(self, bench: Workbench, tell: Tell) -> dict[str, Use]:
        """What became of the shares."""
        return bench.partitions[self.number].run(self.until_ms, self.shares, tell)


@dataclass(frozen=True, slots=True)
class FinishPartition:
    """Ends a partition and frees its memory."""

    number: int

    def __call__(self, bench: Workbench, _: Tell) -> PartitionTotals:
        """Its sums."""
        return bench.partitions.pop(self.number).finished()


def _loader(root: Path) -> Callable[[str], Scorer]:
    """Loads each version once, so that both sides score by the same object where they score by the same version."""
    registry, loaded = ModelRegistry(root), dict[str, Scorer]()

    def load(version: str) -> Scorer:
        if version not in loaded:
            try:
                loaded[version] = interpreted_scorer(registry.load(version), lambda *_: None)
            except ModelsError as error:
                raise SimulationRefused(f"model {version}, which is to score, cannot be loaded: {error}") from error
        return loaded[version]

    return load
