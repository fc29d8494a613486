"""The learner: watches the archive, fits when enough has been learnt, and puts forward what passes its checks.

Putting forward is proposing, for a second person to approve, or, where the bank has decided that the checks are
enough, promoting. It keeps nothing of its own. What a model was last fitted on is in its newest manifest and what was
checked in that version's folder, so a restart neither repeats a fit nor forgets one. A good version whose announcement
was lost in a crash is announced at the next look; one that somebody has replaced, declined or retired since is left
alone, which the control topic tells.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from decision_engine.features.definitions import Value
from event_schemas.codec import Event, encode
from event_schemas.control import ModelDeclined, ModelPromoted, ModelProposed, ModelRetired
from event_schemas.topics import topic_for
from models.decision_log.contact_index import ContactIndex
from models.decision_log.examples import Example
from models.decision_log.labelled_rows import LogQuery, labelled_examples
from models.drift.log_drift import later_than
from models.errors import ModelsError, RegistryError
from models.evaluation.promotion_checks import (
    BESIDE_CHAMPION,
    CHECKS_FILE,
    LEAST_COMPARED,
    Assessment,
    Champion,
    Check,
    Judged,
    assess,
    decode_assessment,
    encode_assessment,
)
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.fit import FitSettings, FittedModel
from models.training.pipeline import fit_query
from services.ports import BusUnavailable, EventPublisher, OutgoingEvent
from services.workers.drift_watch import DriftWatch
from services.workers.learning_schedule import LearningSchedule
from services.workers.training_window import drift_start_ms

_log = logging.getLogger(__name__)
_ACTOR = "learner"
PROPOSAL_DAYS = 7
"""How long a proposal may be approved, unless a setting says otherwise."""
_RETRY_SHARE = 0.05
"""After a reading that led to no model the next waits for a twentieth more rows."""


class PutForward(Protocol):
    """Makes the event that promotes a registered version, or proposes it to whoever approves."""

    def __call__(
        self, manifest: Manifest, assessment: Assessment, *, event_id: str, at: datetime, actor: str
    ) -> ModelPromoted | ModelProposed: ...


@dataclass(frozen=True, slots=True)
class Learnt:
    """A fit that happened, and what the checks found; it was put forward when none failed."""

    manifest: Manifest
    assessment: Assessment

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it was not put forward; empty when it was."""
        return self.assessment.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerTools:
    """What the learner needs from outside; `on_learnt` is told of every fit."""

    registry: ModelRegistry
    publisher: EventPublisher
    new_id: Callable[[], str]
    now: Callable[[], datetime]
    put_forward: PutForward
    replay: bool = False
    """Whether the log is a replay's, so that its age says nothing."""
    on_learnt: Callable[[Learnt], None] = lambda _: None
    protected: Callable[[LogQuery], Mapping[str, Mapping[str, Value]]] = lambda _: {}
    """By customer the attributes that fairness is judged by, asked for once a fit."""
    contacts: ContactIndex = field(default_factory=ContactIndex)
    """Knows how much of the archive there is; to be shared with the drift watch."""
    proposal_days: int = PROPOSAL_DAYS
    """An older proposal waits for nobody: it cannot be approved any more."""
    drift: DriftWatch | None = None
    """Asks for a fit on recent rows when the version in service has drifted; None: nobody watches."""


@dataclass(slots=True)
class _Progress:
    """What has been tried for one model in this process."""

    rows: int = 0
    """Labelled rows at the last reading of the archive, of `closed` contacts then."""
    closed: int = 0
    wanted: int = 0
    """Rows from which the archive is worth reading again."""
    last_act: datetime | None = None
    """When the control topic last told of this model, by whomever."""
    proposed: str | None = None
    """A version that waits for a person since `proposed_at`."""
    proposed_at: datetime | None = None
    declined: str | None = None
    """The last version that somebody said no to."""
    champion: str | None = None
    """The version in service, as the control topic tells."""
    tried: datetime | None = None
    """The moment of the timetable that was last tried."""
    since_ms: int = 0
    """Where the window begins that rows were counted in (0: the archive's beginning)."""

    def forget_rows(self) -> None:
        """What was counted no longer holds."""
        self.rows = self.closed = self.wanted = 0


class Learner:
    """Fits each query's model by the schedule."""

    def __init__(self, queries: Sequence[LogQuery], schedule: LearningSchedule, tools: LearnerTools) -> None:
        self._queries = tuple(queries)
        self._settings = FitSettings(
            least_rows=schedule.least_rows, least_positives=schedule.least_positives, regrow=True
        )
        self._schedule = schedule
        self._tools = tools
        self._progress: dict[str, _Progress] = {query.model: _Progress() for query in queries}

    async def run(self, stopping: asyncio.Event) -> None:
        """Looks at the archive again and again until told to stop."""
        while not stopping.is_set():
            for query in self._queries:
                await self.look(query)
            try:
                async with asyncio.timeout(self._schedule.poll_seconds):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def look(self, query: LogQuery) -> Learnt | None:
        """Fits the query's model if it is time, and puts it forward if it is good; None when nothing was due."""
        try:
            await self._announce_newest(query.model)
            learnt = await asyncio.to_thread(self._fit_if_due, query)
            if learnt is not None:
                await self._conclude(learnt)
        except (ModelsError, BusUnavailable, OSError) as error:
            _log.warning("learning %s has to wait: %s", query.model, error, extra={"action": "learn"})
            return None
        except Exception:  # noqa: BLE001 - a fit that fails would fail again after a restart, and take the other models with it
            _log.exception("learning %s failed", query.model, extra={"action": "learn"})
            return None
        return learnt

    async def on_control(self, event: Event) -> None:
        """Notes what became of a model; to be subscribed to the control topic."""
        if not isinstance(event, ModelPromoted | ModelProposed | ModelDeclined | ModelRetired):
            return
        progress = self._progress.get(event.data.name)
        if progress is None:
            return
        progress.last_act = max(event.time, progress.last_act or event.time)
        if isinstance(event, ModelProposed):
            progress.proposed, progress.proposed_at = event.data.version, event.time
        elif isinstance(event, ModelDeclined):
            progress.proposed, progress.declined = None, event.data.version
        elif isinstance(event, ModelPromoted):
            progress.proposed, progress.champion = None, event.data.version
        elif isinstance(event, ModelRetired) and event.data.role == "champion":
            progress.champion = None

    async def _announce_newest(self, model: str) -> None:
        manifest = self._newest(model)
        checks = None if manifest is None else self._tools.registry.file(manifest.version, CHECKS_FILE)
        if manifest is None or checks is None:
            return
        last_act = self._progress[model].last_act
        told_since = last_act is not None and last_act >= datetime.fromisoformat(manifest.created_at)
        if told_since:
            return
        assessment = decode_assessment(checks)
        if not assessment.problems:
            await self._put_forward(manifest, assessment)

    def _fit_if_due(self, query: LogQuery) -> Learnt | None:
        newest = self._newest(query.model)
        query = self._since_drift(query, newest)
        closed = self._tools.contacts.closed(query)
        reason = self._due(query, newest, closed)
        if reason is None:
            # Asked last: what is due anyway is fitted on all rows.
            return self._fit_if_drifted(query, newest)
        progress = self._progress[query.model]
        examples = labelled_examples(query, _quiet)
        progress.rows, progress.closed = len(examples), closed
        # Whatever stands in the way of a fit now would stand there with the same rows again.
        progress.wanted = round(len(examples) * (1 + _RETRY_SHARE))
        fresh = sum(example.decision.decided_ms >= _until_ms(newest) for example in examples)
        positives = sum(example.accepted for example in examples)
        if not self._enough(newest, reason, len(examples), fresh) or positives < self._schedule.least_positives:
            return None
        fitted = fit_query(self._with_groups(query), examples, self._fit_settings(query.model, examples), _log_progress)
        return self._registered(query, fitted, examples, reason)

    def _fit_if_drifted(self, query: LogQuery, newest: Manifest | None) -> Learnt | None:
        """Fits on the newest rows alone when the version in service has drifted. What comes later starts there too,
        unless somebody declines it."""
        watch = self._tools.drift
        if watch is None or newest is None or self._waiting(query.model) is not None:
            return None  # a proposal under review is not to be replaced every few hours
        version = self._progress[query.model].champion or newest.version
        reason = watch.due(query, version, datetime.fromisoformat(newest.created_at))
        if reason is None:
            return None
        _log.warning("%s is fitted again because of %s", query.model, reason, extra={"action": "learn"})
        examples = labelled_examples(query, _quiet)[-watch.schedule.refit_rows :]
        fitted = fit_query(self._with_groups(query), examples, self._fit_settings(query.model, examples), _log_progress)
        learnt = self._registered(query, fitted, examples, reason)
        self._progress[query.model].forget_rows()
        return learnt

    def _fit_settings(self, model: str, examples: Sequence[Example]) -> FitSettings:
        """The fit is rehearsed up to the middle of the rows that are new to the version in service, and both foretell
        the later half: half of what is new may teach it, as all of it does what is to serve."""
        champion = self._champion(model)
        if champion is None:
            return self._settings
        fresh = [e.decision.decided_ms for e in examples if e.decision.decided_ms >= champion.until_ms]
        halved = len(fresh) >= 2 * LEAST_COMPARED
        return replace(self._settings, rehearse_from_ms=fresh[len(fresh) // 2] if halved else champion.until_ms)

    def _since_drift(self, query: LogQuery, newest: Manifest | None) -> LogQuery:
        """The query without the rows that a fit started by drift has left behind, if what came of that fit stands."""
        progress, since_ms = self._progress[query.model], 0
        basis = self._basis(query.model, newest)
        if basis is not None:
            since_ms = drift_start_ms(basis, self._tools.registry)
        if since_ms != progress.since_ms:  # what was counted was counted in another window
            progress.since_ms = since_ms
            progress.forget_rows()
        return query if since_ms == 0 else later_than(query, since_ms)

    def _basis(self, model: str, newest: Manifest | None) -> Manifest | None:
        """The version that the next is to follow: what waits for a person, else what serves, else the newest unless
        it failed its checks or was declined."""
        named = self._waiting(model) or self._progress[model].champion
        if named is not None:
            try:
                return self._tools.registry.manifest(named)
            except RegistryError as error:
                _log.error("%s cannot be read: %s", named, error, extra={"action": "learn"})
        if newest is None or newest.version == self._progress[model].declined:
            return None
        checks = self._tools.registry.file(newest.version, CHECKS_FILE)
        return newest if checks is None or not decode_assessment(checks).problems else None

    def _waiting(self, model: str) -> str | None:
        """The version under review; None once its proposal has lapsed."""
        progress = self._progress[model]
        if progress.proposed is None or progress.proposed_at is None:
            return None
        lapses = progress.proposed_at + timedelta(days=self._tools.proposal_days)
        return progress.proposed if self._tools.now() <= lapses else None

    def _due(self, query: LogQuery, newest: Manifest | None, closed: int) -> str | None:
        """Why it is time to fit: `rows` or `schedule`; None when it is not."""
        progress = self._progress[query.model]
        # Contacts bound the rows of one model from above, and counting them needs no event decoded.
        rows = progress.rows + closed - progress.closed
        fresh = closed - self._tools.contacts.seen(query, _until_ms(newest))
        if rows >= progress.wanted and self._enough(newest, "rows", rows, fresh):
            return "rows"
        moment = self._scheduled(query, newest)
        if moment is None or moment == progress.tried or not self._enough(newest, "schedule", rows, fresh):
            return None
        progress.tried = moment
        return "schedule"

    def _scheduled(self, query: LogQuery, newest: Manifest | None) -> datetime | None:
        """The moment of the timetable that has come since the newest version was fitted."""
        if self._schedule.timetable is None or newest is None:
            return None
        moment = self._schedule.timetable.latest(self._tools.now(), query.zone)
        return moment if moment > datetime.fromisoformat(newest.created_at).astimezone(UTC) else None

    def _with_groups(self, query: LogQuery) -> LogQuery:
        return replace(query, protected=self._tools.protected(query))

    def _registered(self, query: LogQuery, fitted: FittedModel, examples: Sequence[Example], reason: str) -> Learnt:
        """Checks before it registers, so that what was found is part of the version."""
        now = self._tools.now()
        judged = Judged(
            draft=fitted.rehearsal.draft,
            scorer=fitted.rehearsal.scorer,
            examples=examples,
            zone=query.zone,
            now_ms=None if self._tools.replay else round(now.timestamp() * 1000),
        )
        champion, serving = self._champion(query.model), self._progress[query.model].champion
        assessment = assess(judged, champion, reason)
        if champion is None and serving is not None:  # what cannot be compared must not be put forward by itself
            said = Check(BESIDE_CHAMPION, "failed", f"{serving} is in service and cannot be loaded")
            kept = (check for check in assessment.checks if check.name != said.name)
            assessment = replace(assessment, checks=(*kept, said))
        files = {**fitted.files, CHECKS_FILE: encode_assessment(assessment)}
        return Learnt(self._tools.registry.save(replace(fitted.draft, reason=reason), files, now), assessment)

    def _champion(self, model: str) -> Champion | None:
        version = self._progress[model].champion
        if version is None:
            return None
        try:
            data, scorer = self._tools.registry.manifest(version).data, self._tools.registry.load(version)
        except RegistryError as error:
            _log.error("%s cannot be compared with: %s", version, error, extra={"action": "learn"})
            return None
        return Champion(scorer=scorer, until_ms=0 if data is None else data.until_ms)

    def _enough(self, newest: Manifest | None, reason: str, rows: int, fresh: int) -> bool:
        """Whether so many rows, of which `fresh` are later than the newest version's, are worth a fit."""
        if newest is None or newest.data is None:
            return rows >= self._schedule.least_rows
        # By the clock, anything new is enough.
        step = self._schedule.step_rows if reason == "rows" else 1
        if drift_start_ms(newest, self._tools.registry) == self._progress[newest.name].since_ms:
            return rows >= newest.data.rows + step
        return fresh >= step and rows >= self._schedule.least_rows  # fitted on another window: its rows are not these

    def _newest(self, model: str) -> Manifest | None:
        """The newest version's manifest; None where there is none that can be trusted."""
        newest = self._tools.registry.newest(model)
        try:
            return None if newest is None else self._tools.registry.verify(newest)
        except RegistryError as error:
            _log.error("%s cannot be trusted: %s", newest, error, extra={"action": "learn"})
            return None

    async def _conclude(self, learnt: Learnt) -> None:
        self._tools.on_learnt(learnt)
        if learnt.problems:
            _log.warning(
                "%s is not put forward: %s",
                *(learnt.manifest.version, "; ".join(learnt.problems)),
                extra={"action": "learn"},
            )
            return
        await self._put_forward(learnt.manifest, learnt.assessment)

    async def _put_forward(self, manifest: Manifest, assessment: Assessment) -> None:
        event = self._tools.put_forward(
            manifest, assessment, event_id=self._tools.new_id(), at=self._tools.now(), actor=_ACTOR
        )
        outgoing = OutgoingEvent(topic=topic_for(event.type), key=event.subject, value=encode(event))
        await self._tools.publisher.publish([outgoing])
        await self.on_control(event)
        done = "promoted" if isinstance(event, ModelPromoted) else "proposed; a second person has to approve it"
        _log.info("%s is %s", manifest.version, done, extra={"action": "learn"})


def _until_ms(newest: Manifest | None) -> int:
    """Up to when a version has seen rows; 0 where there is none."""
    return 0 if newest is None or newest.data is None else newest.data.until_ms


def _quiet(_: str) -> None:
    """Looking is not worth a log line; fitting is."""


def _log_progress(sentence: str) -> None:
    _log.info("%s", sentence, extra={"action": "learn"})
