"""The guard: compares a new version with the one before and takes it back when it is worse beyond doubt.

Watched is a canary, for as long as it lasts, beside what decides for everybody else at the same time; and a version
that was activated for everybody, for a while, beside the version before in the window that ended then. A rollback is an
act like a person's, by the actor `guard`, with the reason and the figures in its comment. It is not repeated: a version
that somebody activates again is watched anew, from that moment.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from decision_engine.guard_terms import GuardTerms, Tolerance
from event_schemas.envelope import epoch_ms
from event_schemas.topics import DECISIONS
from services.ports import BusUnavailable, Clock, Delivery, Metrics, ShellError
from services.use_cases.governance.state import Decides, GovernanceState
from services.workers.guard_statistics import LOOKS, Count, doubt_allowed, excess_p_value
from services.workers.guard_window import Counts, GuardWindow, Span

ACTOR = "guard"
LOOK_BACK = 50_000
"""Records of each partition that a guard which starts reads again."""
_POLL_RECORDS = 2_000
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)

Partition = tuple[str, int]
"""Topic and partition."""


class TrafficStream(Protocol):
    """A reader of all decisions and responses. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    def seek(self, positions: Mapping[Partition, int]) -> None: ...

    async def beginning_offsets(self) -> dict[Partition, int]: ...

    async def end_offsets(self) -> dict[Partition, int]: ...


class RollbackDesk(Protocol):
    """Where versions are taken back (`GovernanceDesk`)."""

    def state(self) -> GovernanceState: ...

    def active_version(self) -> str | None: ...

    async def rollback(self, *, actor: str, comment: str | None = None, version: str | None = None) -> Decides:
        """Takes back the version named. Raises ShellError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTools:
    """What the guard works with. `terms_of` says by which terms a version is watched; it reads files, so it is called
    in a thread. `clock` is the bus's: the wall clock."""

    desk: RollbackDesk
    terms_of: Callable[[str], GuardTerms]
    clock: Clock
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Watched:
    """A new version, the one before, and since when it decides; `for_all` unless it is a canary."""

    new: str
    old: str
    since_ms: int
    for_all: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """A measure in which the new version is worse beyond doubt."""

    measure: str
    new: Count
    old: Count
    p_value: float

    def sentence(self) -> str:
        """With the figures."""
        return (
            f"{self.measure} {self.new.share:.2%} of {self.new.customers} customers, before {self.old.share:.2%} of "
            f"{self.old.customers} (p {self.p_value:.1e})"
        )


@dataclass(slots=True)
class Guard:
    """Follows decisions and responses, and looks again and again."""

    stream: TrafficStream
    tools: GuardTools
    window: GuardWindow = field(default_factory=lambda: GuardWindow(0))
    _terms: dict[str, GuardTerms] = field(default_factory=dict)
    _done: set[Watched] = field(default_factory=set)
    """What was taken back, or could not be: neither is tried again."""
    _looked_ms: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises BusUnavailable when the topics cannot be read at the start."""
        beginnings, ends = await self.stream.beginning_offsets(), await self.stream.end_offsets()
        self.stream.seek({p: max(begin, ends.get(p, 0) - LOOK_BACK) for p, begin in beginnings.items()})
        while not stop.is_set():
            try:
                deliveries = await self.stream.poll(_POLL_RECORDS, _POLL_SECONDS)
            except BusUnavailable as error:
                _log.warning("decisions cannot be read, trying again: %s", error, extra={"action": "guard"})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self.take(deliveries)
            await self.look()

    def take(self, deliveries: list[Delivery]) -> None:
        """Notes what came."""
        for delivery in deliveries:
            if delivery.topic == DECISIONS:
                self.window.take_decision(delivery)
            else:
                self.window.take_response(delivery)

    async def look(self) -> Broken | None:
        """Looks, if it is time to, and takes back what is worse beyond doubt."""
        now_ms, watched = self.tools.clock.now_ms(), watched_by(self.tools.desk)
        self.tools.metrics.gauge("guard_watching", 0.0 if watched is None else 1.0)
        if watched is None:
            self._keep(GuardTerms())
            self.window.forget(now_ms)
            return None
        terms = await self._terms_of(watched.new)
        self._keep(terms)
        if now_ms - self._looked_ms < terms.window_seconds * 1000 / LOOKS:
            return None
        self._looked_ms = now_ms
        self.window.forget(now_ms)
        over = watched.for_all and now_ms > watched.since_ms + terms.watch_seconds * 1000
        if not terms.enabled or over or watched in self._done:
            return None
        found = self._compare(watched, terms, now_ms)
        if found is not None:
            await self._take_back(watched, found)
        return found

    def _keep(self, terms: GuardTerms) -> None:
        """What may be compared must be remembered."""
        self.window.kept_ms = max(self.window.kept_ms, (terms.window_seconds + terms.watch_seconds) * 1000)

    async def _terms_of(self, version: str) -> GuardTerms:
        if version not in self._terms:
            try:
                self._terms[version] = await asyncio.to_thread(self.tools.terms_of, version)
            except ShellError as error:
                _log.warning("%s is watched by the usual terms: %s", *(version, error), extra={"action": "guard"})
                return GuardTerms()
        return self._terms[version]

    def _compare(self, watched: Watched, terms: GuardTerms, now_ms: int) -> Broken | None:
        window_ms, answer_ms = terms.window_seconds * 1000, terms.answer_seconds * 1000
        since_ms = max(watched.since_ms, now_ms - window_ms)
        before = Span(watched.old, since_ms, now_ms + 1)
        if watched.for_all:
            before = Span(watched.old, watched.since_ms - window_ms, watched.since_ms)
        span = Span(watched.new, since_ms, now_ms + 1)
        new = self.window.counts(span, now_ms, answer_ms, own_faults=watched.for_all)
        old = self.window.counts(before, now_ms, answer_ms, own_faults=watched.for_all)
        self._show(new, old)
        return worse(new, old, terms)

    def _show(self, new: Counts, old: Counts) -> None:
        for version, counts in (("new", new), ("before", old)):
            for measure in ("degraded", "fallback", "acceptance"):
                share = getattr(counts, measure).share
                self.tools.metrics.gauge("guard_share", share, measure=measure, version=version)

    async def _take_back(self, watched: Watched, found: Broken) -> None:
        comment = f"taken back by the guard: {found.sentence()}; before is {watched.old}"
        _log.error("%s: %s", *(watched.new, comment), extra={"action": "guard"})
        try:
            await self.tools.desk.rollback(actor=ACTOR, comment=comment, version=watched.new)
        except BusUnavailable as error:
            _log.error("%s could not be taken back yet: %s", *(watched.new, error), extra={"action": "guard"})
            return
        except ShellError as error:
            _log.error("%s could not be taken back: %s", *(watched.new, error), extra={"action": "guard"})
            self.tools.metrics.count("guard_rollbacks_total", measure=found.measure, outcome="refused")
        else:
            self.tools.metrics.count("guard_rollbacks_total", measure=found.measure, outcome="done")
        self._done.add(watched)


def watched_by(desk: RollbackDesk) -> Watched | None:
    """The canary, or what was activated last for everybody; not what decides again after a rollback, and nothing that
    nobody decided before."""
    state = desk.state()
    if state.canary is not None:
        old = desk.active_version()
        return None if old is None else Watched(state.canary.version, old, _since_ms(state.canary), for_all=False)
    active, previous = state.active, state.previous
    if active is None or previous is None or active.rolled_back:
        return None
    return Watched(active.version, previous.version, _since_ms(active), for_all=True)


def worse(new: Counts, old: Counts, terms: GuardTerms) -> Broken | None:
    """The first measure in which the new version is worse than the terms allow, beyond doubt; None: in none."""
    doubt = doubt_allowed(terms.false_alarms)
    for measure, tolerance in (("degraded", terms.degraded), ("fallback", terms.fallback)):
        pair = getattr(new, measure), getattr(old, measure)
        found = _exceeds(measure, *pair, tolerance, terms.least)
        if found is not None and found.p_value < doubt:
            return found
    fallen = _exceeds("acceptance", old.acceptance, new.acceptance, terms.acceptance, terms.least)
    if fallen is None or fallen.p_value >= doubt:
        return None
    return Broken("acceptance", new.acceptance, old.acceptance, fallen.p_value)


def _exceeds(measure: str, more: Count, less: Count, tolerance: Tolerance, least: int) -> Broken | None:
    """How sure it is that the one is more often bad than `times` the other; None where there are too few customers, or
    the difference is too small to matter."""
    if min(more.customers, less.customers) < least or more.share - less.share <= tolerance.by:
        return None
    return Broken(measure, more, less, excess_p_value(more, less, tolerance.times))


def _since_ms(decides: Decides) -> int:
    moments: list[datetime] = [decides.at, *([decides.effective_at] if decides.effective_at else [])]
    return max(map(epoch_ms, moments))
