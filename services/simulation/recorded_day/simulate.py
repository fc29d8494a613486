"""The use case `simulate`: a draft strategy over a recorded day, beside the active one, by as many processes as wanted.

The archive's part that the day needs is sorted by customer into a fixed number of partitions, so the result is the same
whatever the number of processes. Volumes are shared between partitions slice by slice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from zoneinfo import ZoneInfo

from decision_engine.prepared import prepare
from decision_engine.strategy import Strategy
from models.decision_log.archive_files import ArchiveFile
from services.simulation.recorded_day.day_partition import PartitionTerms
from services.simulation.recorded_day.failures import SimulationRefused
from services.simulation.recorded_day.group_rules import GroupRule, declared_groups
from services.simulation.recorded_day.partition_totals import PartitionTotals
from services.simulation.recorded_day.sides import ACTIVE, DRAFT, SideTerms
from services.simulation.recorded_day.sorted_archive import (
    DaySpan,
    Neighbourhoods,
    SortedFile,
    find_neighbourhoods,
    needed_files,
)
from services.simulation.recorded_day.volumes_then import SharedVolumes, Use
from services.simulation.recorded_day.work_shares import Stopped, Workers, open_workers
from services.simulation.recorded_day.workbench import (
    BenchTerms,
    FinishPartition,
    Opened,
    OpenPartition,
    RunSlice,
    SortFile,
)

PARTITIONS = 16
"""Fixed, so that results do not depend on the number of processes."""
SLICES_MS = tuple(minutes * 60_000 for minutes in (15, 30, 60, 120, 240, 480, 1440))
"""How often shares of volumes are given out anew: the shortest of these that leaves a partition enough to decide."""
SLICE_REQUESTS = 128
"""So many requests a slice and partition, on average: together they are decided faster."""
Progress = Callable[[str, int, int], None]
"""Told a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOrder:
    """What to simulate. Requests from `since_ms` until `until_ms` (exclusive) are decided again by both strategies,
    scored by the recorded model versions, the draft by those of `instead` where it names one. `groups` are told apart
    for fairness (None: what the strategy declares sensitive). `work` is a folder for sorted events (None: a temporary
    one). `plain` decides one by one with the plain engine."""

    archive: Path
    models: Path
    active: Strategy
    draft: Strategy
    since_ms: int
    until_ms: int
    instead: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[GroupRule, ...] | None = None
    attribution_seconds: int = 7 * 86_400
    processes: int = 1
    partitions: int = PARTITIONS
    work: Path | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDay:
    """What came of it. `volumes` are by side and volume the amount and the units used; `odd_rows` archived records
    without time, owner or text; `wall_seconds` the time that passed, `totals.seconds` processor time by stage."""

    order: SimulationOrder
    groups: tuple[GroupRule, ...]
    totals: PartitionTotals
    volumes: Mapping[str, Mapping[str, tuple[int, float]]]
    odd_rows: int
    wall_seconds: float


def simulate_day(
    order: SimulationOrder,
    progress: Progress = lambda _stage, _done, _total: None,
    stopped: Stopped = lambda: False,
) -> SimulatedDay:
    """Simulates. Raises SimulationRefused where the archive has not what is needed, SimulationCancelled once `stopped`
    answers so; then, as after Ctrl-C, processes and temporary files are gone."""
    began = monotonic()
    if order.until_ms <= order.since_ms:
        raise SimulationRefused("the period ends before it begins")
    span = DaySpan(
        since_ms=order.since_ms,
        until_ms=order.until_ms,
        answers_until_ms=order.until_ms + order.attribution_seconds * 1000,
    )
    files = needed_files(order.archive, span)
    with _work_folder(order) as folder, open_workers(_bench(order), order.processes, stopped) as workers:
        run = _Run(order, span, folder, workers, progress)
        return run.simulated(files, began)


def default_groups(order: SimulationOrder) -> tuple[GroupRule, ...]:
    """The groups told apart."""
    return declared_groups(order.active) if order.groups is None else order.groups


class _Run:
    """One simulation on its way."""

    def __init__(
        self, order: SimulationOrder, span: DaySpan, folder: Path, workers: Workers, progress: Progress
    ) -> None:
        self._order, self._span, self._folder = order, span, folder
        self._workers, self._progress = workers, progress
        self._numbers = range(order.partitions)

    def simulated(self, files: Sequence[ArchiveFile], began: float) -> SimulatedDay:
        """Sorts, opens, simulates slice by slice, and adds up."""
        order = self._order
        links = tuple({link.name: link for side in (order.active, order.draft) for link in side.links}.values())
        neighbours = find_neighbourhoods(order.archive, links, self._span.until_ms)
        found = self._sort(files, neighbours)
        opened = self._open(neighbours, max((each.newest_ms for each in found), default=0))
        if not any(each.times for each in opened):
            raise SimulationRefused(f"{order.archive} has no decision in the period")
        volumes = self._volumes(opened)
        self._slices(opened, volumes)
        totals = PartitionTotals()
        for each in self._on_own([FinishPartition(number) for number in self._numbers], "adding up"):
            if isinstance(each, PartitionTotals):
                totals.merge(each)
        return SimulatedDay(
            order=order,
            groups=default_groups(order),
            totals=totals,
            volumes={name: shared.amounts_used() for name, shared in volumes.items()},
            odd_rows=sum(each.odd for each in found),
            wall_seconds=monotonic() - began,
        )

    def _sort(self, files: Sequence[ArchiveFile], neighbours: Neighbourhoods) -> list[SortedFile]:
        tasks = [SortFile(file, self._span, self._folder, neighbours, self._order.partitions) for file in files]
        done = _Done(self._progress, "sorting the archive by customer", sum(f.last - f.first + 1 for f in files))
        found = self._workers.run(tasks, [None] * len(tasks), done)
        return [each for each in found if isinstance(each, SortedFile)]

    def _open(self, neighbours: Neighbourhoods, log_end_ms: int) -> list[Opened]:
        tasks = []
        for number in self._numbers:
            said = tuple(
                each for each in neighbours.said if neighbours.partition_of(each.customer, len(self._numbers)) == number
            )
            terms = PartitionTerms(
                folder=self._folder,
                span=self._span,
                groups=default_groups(self._order),
                attribution_ms=self._order.attribution_seconds * 1000,
                log_end_ms=log_end_ms,
                said=said,
                plain=self._order.plain,
            )
            tasks.append(OpenPartition(number, terms))
        done = _Done(self._progress, "folding what customers did before", len(tasks))
        found = self._workers.run(tasks, list(self._numbers), done)
        return [each for each in found if isinstance(each, Opened)]

    def _volumes(self, opened: Sequence[Opened]) -> dict[str, SharedVolumes]:
        """By side what the bank has of its volumes when the day begins."""
        shared = {}
        for name, strategy in ((ACTIVE, self._order.active), (DRAFT, self._order.draft)):
            used: dict[str, float] = {}
            for each in opened:
                for volume, units in each.used_before[name].items():
                    used[volume] = used.get(volume, 0.0) + units
            if strategy.volumes:
                shared[name] = SharedVolumes(prepare(strategy).volumes, ZoneInfo(strategy.time_zone), used)
        return shared

    def _slices(self, opened: Sequence[Opened], volumes: Mapping[str, SharedVolumes]) -> None:
        total = sum(len(each.times) for each in opened)
        done = _Done(self._progress, "deciding again", total)
        for start, end in pairwise(_bounds(self._order, total, sliced=bool(volumes))):
            requests = [sum(start <= at < end for at in each.times) for each in opened]
            shares = {name: shared.share_out(start, requests) for name, shared in volumes.items()}
            tasks = [
                RunSlice(number, end, {name: by_partition[number] for name, by_partition in shares.items()})
                for number in self._numbers
            ]
            for number, used in enumerate(self._workers.run(tasks, list(self._numbers), done)):
                for name, shared in volumes.items():
                    if isinstance(used, dict) and isinstance(use := used.get(name), Use):
                        shared.settle(number, use)

    def _on_own(self, tasks: Sequence[FinishPartition], stage: str) -> list[object]:
        return self._workers.run(tasks, list(self._numbers), _Done(self._progress, stage, len(tasks)))


class _Done:
    """Adds up what workers tell, for the progress."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total = progress, stage, total
        self._done = 0
        progress(stage, 0, total)

    def __call__(self, more: int) -> None:
        self._done += more
        self._progress(self._stage, min(self._done, self._total), self._total)


@contextmanager
def _work_folder(order: SimulationOrder) -> Iterator[Path]:
    with TemporaryDirectory(prefix="simulate-", dir=order.work) as folder:
        yield Path(folder)


def _bench(order: SimulationOrder) -> BenchTerms:
    sides = (
        SideTerms(name=ACTIVE, strategy=order.active, instead={}),
        SideTerms(name=DRAFT, strategy=order.draft, instead=dict(order.instead)),
    )
    return BenchTerms(sides=sides, models=order.models)


def _bounds(order: SimulationOrder, requests: int, *, sliced: bool) -> list[int]:
    """Where slices begin and end: parts of a day from its beginning, so that none reaches over midnight."""
    if not sliced:
        return [order.since_ms, order.until_ms]
    wanted = max(1.0, requests / (order.partitions * SLICE_REQUESTS))
    length = next((ms for ms in SLICES_MS if (order.until_ms - order.since_ms) / ms <= wanted), SLICES_MS[-1])
    return [*range(order.since_ms, order.until_ms, length), order.until_ms]
