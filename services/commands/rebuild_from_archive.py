"""The archive's part of a rebuild: sorting it by customer, and folding the bundles, by several processes if wanted."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.synchronize import Event as EventType
from pathlib import Path

import orjson

from decision_engine.features.fold import fold
from event_schemas.topics import STATE_TOPICS
from services.adapters.archive_bundles import BUNDLE_EVENTS, MOST_BUNDLES, ArchiveBundles
from services.adapters.embedded_servers import die_with_parent
from services.adapters.parquet_archive import Position, archived_positions, record_mark
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_link_members import RedisLinkMembers
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.system_clock import SystemClock
from services.bootstrap import LoadedStrategy, load_kept_strategy, open_event_stream, open_strategy_versions
from services.commands.state_builder import PATIENT, UNTRUSTED_END_SLACK, calm_collector
from services.erasure_wiring import erased_people
from services.ports import Delivery, StoreUnavailable
from services.settings import Settings
from services.simulation.progress import progress
from services.use_cases.archive_meets_log import check_archive_meets_log
from services.use_cases.rebuild_bundles import BundleFolded, FoldBundles

Partition = tuple[str, int]
"""Topic and partition."""
LEAST_BUNDLES = 16
"""So that several processes share even little work evenly, and little is done twice after an interruption."""
NICENESS = 5
"""Whoever serves on the same machine goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """What is folded from the archive, decided once: a rebuild that goes on does so by the same bundles, whatever the
    archive has taken in since. `marks` are what the last records are recognised by."""

    positions: dict[Partition, int]
    marks: dict[Partition, str]
    bundles: int

    def encoded(self) -> bytes:
        """As kept in the store."""
        parts = [[topic, number, at, self.marks[topic, number]] for (topic, number), at in self.positions.items()]
        return orjson.dumps({"bundles": self.bundles, "positions": sorted(parts)})

    @classmethod
    def decoded(cls, text: bytes) -> "ArchivePlan":
        """From there."""
        plan = orjson.loads(text)
        return cls(
            positions={(topic, number): at for topic, number, at, _ in plan["positions"]},
            marks={(topic, number): mark for topic, number, _, mark in plan["positions"]},
            bundles=plan["bundles"],
        )

    @property
    def upto(self) -> dict[Partition, Position]:
        """Up to where the archive is folded."""
        return {p: Position(next_offset=at, last_mark=self.marks[p]) for p, at in self.positions.items()}

    @property
    def events(self) -> int:
        """How many there are at the most."""
        return sum(self.positions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRebuild:
    """One rebuild from the archive into the namespace of a strategy's layout. `spill` is a folder for sorted events;
    `rest` is how long a writer rests after each write, in times of its length."""

    settings: Settings
    loaded: LoadedStrategy
    namespaces: RedisNamespaces
    spill: Path
    workers: int = 1
    rest: float = 1.0
    niceness: int = NICENESS

    @property
    def layout(self) -> str:
        """The namespace."""
        return self.loaded.features.layout

    async def planned(self) -> ArchivePlan | None:
        """The plan this layout was begun by; None where it was not. Raises StoreUnavailable."""
        kept = await self.namespaces.plan(self.layout)
        return None if kept is None else ArchivePlan.decoded(kept)

    async def plan(self) -> ArchivePlan:
        """Decides what is folded, and keeps that. Raises ArchiveUnusable, ArchiveUnfit, StoreUnavailable,
        BusUnavailable."""
        root, slack = self.settings.archive_path, 0 if self.settings.kafka_idempotence else UNTRUSTED_END_SLACK
        archived = await asyncio.to_thread(archived_positions, root)
        ends = {partition: at for partition, at in archived.items() if partition[0] in STATE_TOPICS}
        async with open_event_stream(self.settings, STATE_TOPICS) as log:
            await check_archive_meets_log(log, ends, record_mark, end_slack=slack)
        events = sum(at.next_offset for at in ends.values())
        plan = ArchivePlan(
            positions={partition: at.next_offset for partition, at in ends.items()},
            marks={partition: at.last_mark for partition, at in ends.items()},
            bundles=min(MOST_BUNDLES, max(LEAST_BUNDLES, -(-events // BUNDLE_EVENTS))),
        )
        await self.namespaces.keep_plan(self.layout, plan.encoded())
        return plan

    async def __call__(self, plan: ArchivePlan, stop: asyncio.Event) -> BundleFolded | None:
        """Sorts and folds what is not done yet; None when stopped before the end. Raises StoreUnavailable."""
        async with RedisClient.open(self.settings.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client:
            store = RedisStateStore(client, RedisKeys(self.settings.namespace, self.layout))
            await store.begin_namespace()
            folder = FoldBundles(store=store, fold=partial(fold, self.loaded.features), now_ms=None)
            todo = sorted(set(range(plan.bundles)) - await folder.done(plan.bundles))
            working = todo and not stop.is_set()
            folded = await self._in_processes(plan, todo, stop) if working else BundleFolded()
            if stop.is_set():
                return None
            if len(await folder.done(plan.bundles)) < plan.bundles or await self.namespaces.plan(self.layout) is None:
                raise StoreUnavailable("the store has lost what was rebuilt: run the same command again")
            await store.record_progress(plan.positions)
        await asyncio.to_thread(self.bundles(plan).remove)
        return folded

    def bundles(self, plan: ArchivePlan) -> ArchiveBundles:
        """The sorted events, in a folder that another plan does not share."""
        digest = sha256(plan.encoded()).hexdigest()[:12]
        return ArchiveBundles(
            root=self.settings.archive_path,
            folder=self.spill / f"{self.layout}-{digest}",
            positions=plan.positions,
            bundles=plan.bundles,
        )

    async def _in_processes(self, plan: ArchivePlan, todo: Sequence[int], stop: asyncio.Event) -> BundleFolded:
        context = get_context("spawn")
        halt = context.Event()
        order = _Order(self.settings, self.loaded.strategy.version, self.bundles(plan), self.rest, self.niceness)
        relay = asyncio.create_task(_relay(stop, halt), name="halt-workers")
        try:
            with ProcessPoolExecutor(self.workers, context, _begin_worker, (order, halt)) as pool:
                events = await self._sorted(pool, plan)
                return BundleFolded() if stop.is_set() else await self._folded(pool, plan, todo, events)
        finally:
            relay.cancel()

    async def _sorted(self, pool: Executor, plan: ArchivePlan) -> int:
        """How many events there are, sorted. Work that was halted answers None."""
        loop, done = asyncio.get_running_loop(), 0
        with progress("sorting the archive by customer", plan.events) as told:
            for part in [loop.run_in_executor(pool, _sort, partition) for partition in sorted(plan.positions)]:
                done += await part or 0
                told(done)
        return done

    async def _folded(self, pool: Executor, plan: ArchivePlan, todo: Sequence[int], events: int) -> BundleFolded:
        loop, folded = asyncio.get_running_loop(), BundleFolded()
        already = events * (plan.bundles - len(todo)) // plan.bundles
        with progress("folding the archive", events, already) as told:
            for task in asyncio.as_completed([loop.run_in_executor(pool, _fold, number) for number in todo]):
                folded += await task or BundleFolded()
                told(already + folded.events)
        return folded


@dataclass(frozen=True, slots=True)
class _Order:
    """What a worker process is told."""

    settings: Settings
    version: str
    bundles: ArchiveBundles
    rest: float
    niceness: int


class _Halted(Exception):
    """The rebuild was asked to stop."""


class _Worker:
    """A worker process: the strategy, loaded once, and the bundles."""

    def __init__(self, order: _Order, halt: EventType) -> None:
        self._order = order
        self._halt = halt
        self._loaded = load_kept_strategy(open_strategy_versions(order.settings), order.version)

    def sort(self, partition: Partition) -> int | None:
        """How many events the partition has, sorted now; None when halted."""
        try:
            return self._order.bundles.sort(partition, lambda _: self._go_on())
        except _Halted:
            return None

    async def fold(self, number: int) -> BundleFolded | None:
        """Folds a bundle; None when halted."""
        settings, features, links = self._order.settings, self._loaded.features, self._loaded.strategy.links
        keys = RedisKeys(settings.namespace, features.layout)
        async with RedisClient.open(settings.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client:
            folder = FoldBundles(
                store=RedisStateStore(client, keys),
                fold=partial(fold, features),
                now_ms=None if settings.clock == "events" else SystemClock().now_ms(),
                rest=self._order.rest,
                links=links,
                members=RedisLinkMembers(client, keys) if links else None,
                erased=erased_people(settings, client, features),
            )
            try:
                return await folder(number, self._portions(number))
            except _Halted:
                return None

    def _portions(self, number: int) -> Iterator[list[Delivery]]:
        for portion in self._order.bundles.read(number, STATE_TOPICS):
            self._go_on()
            yield portion

    def _go_on(self) -> None:
        if self._halt.is_set():
            raise _Halted


_worker: list[_Worker] = []
"""This process's, once it has begun: a pool calls plain functions."""


def give_way(niceness: int) -> None:
    """Puts this process behind those who serve on the same machine."""
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))


def _begin_worker(order: _Order, halt: EventType) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    give_way(order.niceness)
    _worker.append(_Worker(order, halt))
    calm_collector()


def _sort(partition: Partition) -> int | None:
    return _worker[0].sort(partition)


def _fold(number: int) -> BundleFolded | None:
    return asyncio.run(_worker[0].fold(number))


async def _relay(stop: asyncio.Event, halt: EventType) -> None:
    await stop.wait()
    halt.set()
