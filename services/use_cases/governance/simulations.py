"""Simulations started from a screen or the API: one at a time on a node, seen from every node, held fast at the end."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Literal, Protocol

import orjson

from services.ports import IdFactory, ShellError, StoreUnavailable
from services.use_cases.governance.acts import SimulationSummary
from services.use_cases.governance.desk import Files, GovernanceDesk
from services.use_cases.governance.writer import ActRefused

RUNNING_SECONDS = 30
"""A simulation whose node falls silent for so long is gone."""
KEPT_SECONDS = 7 * 86_400
"""How long the store keeps a report."""
_SAY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class SimulationBusy(ShellError):
    """This node runs a simulation already."""


class SimulationFailed(ShellError):
    """The simulation ended without a report; the message is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationAsked:
    """What is to be simulated, beside what, over which days (None: the newest), and who asks."""

    files: Files
    against: Files
    actor: str
    day: date | None = None
    day_count: int = 1
    draft: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationJob:
    """A simulation as every node sees it. `done` of `total` counts what the stage goes through."""

    id: str
    state: Literal["running", "done", "failed", "cancelled"]
    version: str
    compared_with: str
    actor: str
    started_at: str
    draft: str | None = None
    stage: str = "starting"
    done: int = 0
    total: int = 0
    ended_at: str | None = None
    error: str | None = None
    recorded: bool = False
    """Whether the history holds it fast."""
    report_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The report as JSON and as a page."""

    document: bytes
    page: bytes


class SimulationStore(Protocol):
    """Where every node sees them. Raises StoreUnavailable."""

    async def save(self, job_id: str, document: bytes, seconds: int) -> None: ...

    async def load(self, job_id: str) -> bytes | None: ...

    async def save_report(self, digest: str, report: Report, seconds: int) -> None:
        """Under the SHA-256 of its document, by which the history names it."""
        ...

    async def report(self, digest: str) -> Report | None: ...

    async def cancel(self, job_id: str) -> None:
        """Asks whoever runs it to end it."""
        ...

    async def cancelled(self, job_id: str) -> bool: ...


OnStage = Callable[[str, int, int], None]


class SimulationWork(Protocol):
    """Does the work, somewhere where it disturbs nobody."""

    async def __call__(self, asked: SimulationAsked, on_stage: OnStage) -> Report:
        """Cancelling ends it and leaves nothing behind. Raises SimulationFailed."""
        ...


@dataclass(slots=True)
class Simulations:
    """Starts, shows and cancels simulations."""

    desk: GovernanceDesk
    store: SimulationStore
    work: SimulationWork
    ids: IdFactory
    _running: "asyncio.Task[None] | None" = field(default=None, init=False)
    _job: SimulationJob | None = field(default=None, init=False)

    async def start(self, asked: SimulationAsked) -> SimulationJob:
        """Begins it. Raises SimulationBusy, StrategyInvalid, ActRefused, StoreUnavailable."""
        if self._running is not None and not self._running.done():
            raise SimulationBusy("this node runs a simulation already; at most one at a time")
        draft, other = await self.desk.check(asked.files), await self.desk.check(asked.against)
        if draft.version == other.version:
            raise ActRefused(f"simulate {draft.version}: it is what it would be compared with")
        job = SimulationJob(
            id=self.ids.new_id(),
            state="running",
            version=draft.version,
            compared_with=other.version,
            actor=asked.actor,
            started_at=_now(),
            draft=asked.draft,
        )
        if self._running is not None and not self._running.done():
            raise SimulationBusy("this node runs a simulation already; at most one at a time")
        self._job = job
        self._running = asyncio.create_task(self._run(job, asked, draft.name), name="simulation")
        await self.store.save(job.id, _document(job), RUNNING_SECONDS)
        await self.store.save(_newest_of(job.version), job.id.encode(), KEPT_SECONDS)
        await asyncio.sleep(0)  # a task that is cancelled before its first step could not say that it has ended
        return job

    async def get(self, job_id: str) -> SimulationJob | None:
        """The simulation as it stands; None when there is none any more. Raises StoreUnavailable."""
        found = await self.store.load(job_id)
        return None if found is None else SimulationJob(**orjson.loads(found))

    async def newest(self, version: str) -> SimulationJob | None:
        """The one of exactly this version that was begun last, on whichever node. Raises StoreUnavailable."""
        found = await self.store.load(_newest_of(version))
        return None if found is None else await self.get(found.decode())

    async def report(self, digest: str) -> Report | None:
        """The report that the history names by this SHA-256, as long as it is kept. Raises StoreUnavailable."""
        found = await self.store.report(digest)
        return None if found is None or sha256(found.document).hexdigest() != digest else found

    async def cancel(self, job_id: str) -> SimulationJob | None:
        """Ends it, on whichever node it runs. Raises StoreUnavailable."""
        job = await self.get(job_id)
        if job is not None and job.state == "running":
            await self.store.cancel(job_id)
            if self._job is not None and self._job.id == job_id and self._running is not None:
                self._running.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(self._running)
                return await self.get(job_id)
        return job

    async def close(self) -> None:
        """Ends what runs."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self, job: SimulationJob, asked: SimulationAsked, name: str) -> None:
        watching = asyncio.create_task(self._watch(job.id), name="simulation-watch")
        try:
            report = await self.work(asked, self._at_stage)
            digest = sha256(report.document).hexdigest()
            await self.store.save_report(digest, report, KEPT_SECONDS)
            summary = summary_of(orjson.loads(report.document), name, digest)
            await self.desk.record_simulation(summary, actor=asked.actor, comment=asked.comment)
            ended = self._ended("done", recorded=True, report_digest=digest)
        except asyncio.CancelledError:
            ended = self._ended("cancelled")
        except ShellError as error:
            ended = self._ended("failed", error=str(error) or type(error).__doc__)
        except Exception as error:  # noqa: BLE001 - whoever waits for it must hear of its end
            _log.exception("simulation %s failed", job.id, extra={"action": "simulate"})
            ended = self._ended("failed", error=type(error).__name__)
        watching.cancel()
        with suppress(StoreUnavailable):
            await self.store.save(job.id, _document(ended), KEPT_SECONDS)

    async def _watch(self, job_id: str) -> None:
        """Says how far it is, and hears whether it is to end."""
        while True:
            await asyncio.sleep(_SAY_SECONDS)
            with suppress(StoreUnavailable):
                if self._job is not None:
                    await self.store.save(job_id, _document(self._job), RUNNING_SECONDS)
                if await self.store.cancelled(job_id) and self._running is not None:
                    self._running.cancel()
                    return

    def _at_stage(self, stage: str, done: int, total: int) -> None:
        if self._job is not None:
            self._job = replace(self._job, stage=stage, done=done, total=total)

    def _ended(
        self,
        state: Literal["done", "failed", "cancelled"],
        *,
        recorded: bool = False,
        error: str | None = None,
        report_digest: str | None = None,
    ) -> SimulationJob:
        if self._job is None:
            raise RuntimeError("no simulation runs")
        self._job = replace(
            self._job, state=state, recorded=recorded, error=error, report_digest=report_digest, ended_at=_now()
        )
        return self._job


def summary_of(document: Mapping[str, object], name: str, digest: str) -> SimulationSummary:
    """What the history keeps of a report: the period, the decisions, and its key figures."""
    period = _mapping(document["period"])
    requests = document["requests"]
    return SimulationSummary(
        name=name,
        version=str(document["draft"]),
        compared_with=str(document["active"]),
        since=datetime.fromisoformat(str(period["since"])),
        until=datetime.fromisoformat(str(period["until"])),
        decisions=requests if isinstance(requests, int) else 0,
        figures=_figures(document),
        report_digest=digest,
    )


_KEY_FIGURES = ("customers", "candidates", "fallbacks")


def _figures(document: Mapping[str, object]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in _KEY_FIGURES:
        figures |= _numbers(name, document.get(name))
    whole = _mapping(document.get("all"))
    for side in ("active", "draft", "change"):
        figures |= _numbers(side, whole.get(side))
    return figures | _numbers("changed", document.get("changed"))


def _numbers(name: str, value: object) -> dict[str, float]:
    if isinstance(value, bool) or value is None:
        return {}
    if isinstance(value, int | float):
        return {name: float(value)}
    found: dict[str, float] = {}
    for key, part in _mapping(value).items():
        if isinstance(part, int | float) and not isinstance(part, bool):
            found[f"{name}.{key}"] = float(part)
    return found


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _document(job: SimulationJob) -> bytes:
    return orjson.dumps(asdict(job))


def _newest_of(version: str) -> str:
    """Where the id of a version's newest simulation is kept."""
    return f"of:{version}"


def _now() -> str:
    return datetime.now(UTC).isoformat()
