"""The campaign: one fault after another on one running system under load, each recovered from, timed, and judged."""

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from decision_engine.identifiers import DecisionId
from loadtests.faults.bank import promises
from loadtests.faults.battle import Battle
from loadtests.faults.catalogue import Kind
from loadtests.faults.kinds_archive import mount_small_disk, unmount
from loadtests.faults.load import Load, Rates
from loadtests.faults.reconciliation import (
    Answered,
    Findings,
    answers_against,
    archive_against,
    contacts_against,
    dead_letters_against,
    limits_against,
    responses_against,
    states_against,
)
from loadtests.faults.system import ROLES, NotRecovered, System, running_system
from models.decision_log.archive_files import archive_files
from services.ports import StoreUnavailable

SETTLE_S = 30.0
"""How long a difference between log and states may last before it is one."""
ARCHIVED_S = 60.0
FULL_EVERY = 25
RENEWED = 5
"""Customers replaced with every fault."""
REFUSED_ASKED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """One fault and what came of it. `recovery_s` None: the system did not come back in its time."""

    number: int
    kind: str
    recovery_s: float | None
    findings: dict[str, list[str]]
    problems: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a campaign has seen so far."""

    broker: str
    seed: int
    planned: int
    struck: list[Struck] = field(default_factory=list)
    answers: int = 0
    degraded: int = 0
    events: int = 0
    responses: int = 0
    kept_only: int = 0
    """Answers whose record is in the store alone: their process was killed before it had handed them to the bus."""
    statuses: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    own_ends: dict[str, list[int]] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)
    finished: bool = False

    def total(self, name: str) -> int:
        """How many findings of that name."""
        return sum(len(one.findings.get(name, ())) for one in self.struck)


@dataclass(slots=True)
class Judge:
    """Reconciles again and again; what was reported once is not reported again."""

    battle: Battle
    reported: set[tuple[str, str]] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    async def judge(self, *, everybody: bool = False) -> dict[str, list[str]]:
        """What is wrong now and was not before. Raises NotRecovered when the log or the store cannot be read."""
        load, loop = self.battle.load, asyncio.get_running_loop()
        async with load.paused():
            deadline = loop.time() + SETTLE_S
            while new := await self._differences(everybody):
                if loop.time() > deadline:
                    break
                await asyncio.sleep(0.3)
            for name, entries in new.items():
                self.reported |= {(name, _about(entry)) for entry in entries}
            load.unjudged.clear()
            load.touched.clear()
            await self._ask_who_refused()
        return new

    async def _differences(self, everybody: bool) -> dict[str, list[str]]:
        system, load = self.battle.system, self.battle.load
        await system.read_log()
        try:
            async with asyncio.timeout(SETTLE_S):
                await system.until_applied(dict(system.fold.next))
        except TimeoutError:
            pass  # what the states lack is then found below
        fold, findings = system.fold, Findings()
        customers = sorted({*fold.posted} if everybody else {c for c in load.touched if c in fold.posted})
        try:
            states_against(fold, await system.states(customers), findings)
            contacts_against(fold, await system.ledgers(customers), findings)
            await self._look_for_kept(load.unjudged)
        except StoreUnavailable as error:
            raise NotRecovered(f"the store cannot be judged: {error}") from error
        limits_against(fold, load.answers.values(), promises(), findings)
        answers_against(fold, load.unjudged, self.kept, findings)
        responses_against(fold, load.acknowledged, findings)
        dead_letters_against(fold, findings)
        if served := fold.versions & self.battle.forbidden:
            findings.wrong.append(f"decided by a version that must not: {', '.join(sorted(served))}")
        found = findings.all()
        new = {n: [e for e in entries if (n, _about(e)) not in self.reported] for n, entries in found.items()}
        return {name: entries for name, entries in new.items() if entries}

    async def _look_for_kept(self, answers: Sequence[Answered]) -> None:
        """Which of the answers whose record is not in the log have it in the store."""
        system = self.battle.system
        for answer in answers:
            if answer.decision_id in system.fold.records or answer.decision_id in self.kept:
                continue
            name = system.keys.decision(DecisionId(answer.decision_id))
            if await system.client.execute("EXISTS", name) == 1:
                self.kept.add(answer.decision_id)

    async def _ask_who_refused(self) -> None:
        """Whoever refuses marketing by the log is offered none."""
        fold, load = self.battle.system.fold, self.battle.load
        refused = [c for c in load.customers if dict(fold.known(c)[4]).get("marketing") is False]
        for customer in refused[:REFUSED_ASKED]:
            answer = await load.decide(customer, self.battle.system.nodes[0])
            if answer is not None and answer.status_code == 200:
                offered = load.note_answer(answer).options
                self.battle.expect(not offered, f"{customer} refuses marketing and was offered {offered}")


def _about(entry: str) -> str:
    """What a finding is about, without the figures that grow."""
    return entry.rsplit(":", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run."""

    broker: str
    seed: int
    plan: Sequence[Kind]
    rates: Rates = field(default_factory=Rates)
    roles: Sequence[str] = ROLES
    on_fault: Callable[[Outcome], None] = lambda _: None
    """Told after every fault, so that a campaign that is cut short leaves what it has seen."""
    until_s: float = float("inf")
    """By the loop's clock: no fault begins later."""


async def run(order: Order, folder: Path) -> Outcome:
    """The whole campaign, or what there was of it when it was cancelled. Raises NotRecovered when the system does not
    start."""
    outcome = Outcome(broker=order.broker, seed=order.seed, planned=len(order.plan))
    with suppress(asyncio.CancelledError):
        await _run(order, folder, outcome)
    return outcome


async def _run(order: Order, folder: Path, outcome: Outcome) -> None:
    archive = folder / "archive"
    mounted = "archiver" in order.roles and mount_small_disk(archive)
    try:
        async with running_system(folder, order.broker, order.roles) as system:
            load = Load(system, random.Random(order.seed), order.rates)
            battle = Battle(system=system, load=load)
            async with load.running():
                await _strike_all(order, battle, outcome)
    finally:
        if mounted:
            unmount(archive)
            shutil.rmtree(archive, ignore_errors=True)


async def _strike_all(order: Order, battle: Battle, outcome: Outcome) -> None:
    judge, loop = Judge(battle), asyncio.get_running_loop()
    for number, kind in enumerate(order.plan, start=1):
        if loop.time() > order.until_s:
            break
        everybody = number % FULL_EVERY == 0
        outcome.struck.append(await _strike(battle, judge, kind, (order.seed, number), everybody=everybody))
        _tell(battle, judge, outcome)
        order.on_fault(outcome)
        await battle.load.renew(RENEWED)
    outcome.struck.append(await _at_the_end(battle, judge))
    outcome.finished = len(outcome.struck) - 1 == outcome.planned
    _tell(battle, judge, outcome)
    order.on_fault(outcome)


async def _strike(battle: Battle, judge: Judge, kind: Kind, at: tuple[int, int], *, everybody: bool) -> Struck:
    """One fault, its recovery and its judgement. What fails on the way is part of the result."""
    loop, problems = asyncio.get_running_loop(), len(battle.problems)
    battle.load.during = kind.name
    recovery_s, findings = None, {}
    try:
        async with asyncio.timeout(kind.most_s):
            await kind.fault(battle, random.Random(f"{at[0]}-{at[1]}-{kind.name}"))
    except Exception as error:  # noqa: BLE001 - a fault that cannot be made is a result, and the campaign goes on
        battle.problems.append(f"{kind.name}: the fault could not be made: {error!r}")
    ended = loop.time()
    try:
        await battle.system.mend()
        await battle.system.recovered()
        recovery_s = loop.time() - ended
        findings = await judge.judge(everybody=everybody)
    except NotRecovered as error:
        battle.problems.append(f"{kind.name}: not recovered: {error}")
    battle.load.during = "none"
    told = tuple(battle.problems[problems:])
    return Struck(number=at[1], kind=kind.name, recovery_s=recovery_s, findings=findings, problems=told)


async def _at_the_end(battle: Battle, judge: Judge) -> Struck:
    """Everybody once more, and the archive against the log."""
    findings = await judge.judge(everybody=True)
    if "archiver" in battle.system.roles:
        loop, found = asyncio.get_running_loop(), Findings()
        deadline = loop.time() + ARCHIVED_S
        async with battle.load.paused():
            while True:
                found = Findings()
                await battle.system.read_log()
                archived = await asyncio.to_thread(_archived, battle.system)
                archive_against(battle.system.fold, archived, found)
                if not found.archive_wrong or loop.time() > deadline:
                    break
                await asyncio.sleep(1.0)
        findings = findings | found.all()
    return Struck(number=0, kind="end", recovery_s=0.0, findings=findings, problems=())


def _archived(system: System) -> dict[tuple[str, int], Counter[int]]:
    """How often each offset stands in the archive."""
    found: dict[tuple[str, int], Counter[int]] = {}
    for topic in {topic for topic, _ in system.fold.offsets}:
        for file in archive_files(system.settings.archive_path, topic):
            with suppress(FileNotFoundError):  # merged into another meanwhile: the next look finds that
                offsets = pq.ParquetFile(file.path).read(columns=["offset"])["offset"].to_pylist()
                found.setdefault((topic, file.partition), Counter()).update(offsets)
    return found


def _tell(battle: Battle, judge: Judge, outcome: Outcome) -> None:
    load = battle.load
    outcome.answers, outcome.degraded, outcome.events = len(load.answers), load.degraded, load.events
    outcome.responses, outcome.kept_only = len(load.acknowledged), len(judge.kept - battle.system.fold.records.keys())
    outcome.statuses = load.statuses
    outcome.own_ends = {name: role.own_ends for name, role in battle.system.roles.items() if role.own_ends}
    outcome.figures = battle.figures
