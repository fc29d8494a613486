"""The learner: watches the archive, fits when enough has been learnt, and promotes what passes its checks.

It keeps nothing of its own. What a model was last fitted on is in its newest manifest, so a restart neither repeats a
fit nor forgets one. A good version whose promotion was lost in a crash is promoted at the next look; one that somebody
has replaced or retired since is left alone, which the control topic tells.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from event_schemas.codec import Event, encode
from event_schemas.control import ModelPromoted, ModelRetired
from event_schemas.topics import topic_for
from models.decision_log.labelled_rows import LogQuery, closed_contacts, example_set, labelled_examples
from models.errors import ModelsError, RegistryError
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.fit import FitSettings, fit_model
from models.training.promotion import promotion_problems
from services.ports import BusUnavailable, EventPublisher, OutgoingEvent

_log = logging.getLogger(__name__)
_ACTOR = "learner"
_RETRY_SHARE = 0.05
"""After a reading that led to no model the next waits for a twentieth more rows."""


class PromotionOf(Protocol):
    """Makes the event that promotes a registered version."""

    def __call__(self, manifest: Manifest, *, event_id: str, at: datetime, actor: str) -> ModelPromoted: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSchedule:
    """When to fit: a first time from `least_rows` with `least_positives`, then after every further `step_rows`."""

    least_rows: int
    least_positives: int
    step_rows: int
    poll_seconds: float


@dataclass(frozen=True, slots=True)
class Learnt:
    """A fit that happened. `problems` are why it was not promoted, empty when it was."""

    manifest: Manifest
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerTools:
    """What the learner needs from outside; `on_learnt` is told of every fit."""

    registry: ModelRegistry
    publisher: EventPublisher
    new_id: Callable[[], str]
    now: Callable[[], datetime]
    promotion_of: PromotionOf
    on_learnt: Callable[[Learnt], None] = lambda _: None


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


class Learner:
    """Fits each query's model by the schedule."""

    def __init__(self, queries: Sequence[LogQuery], schedule: LearningSchedule, tools: LearnerTools) -> None:
        self._queries = tuple(queries)
        self._settings = FitSettings(least_rows=schedule.least_rows, least_positives=schedule.least_positives)
        self._schedule = schedule
        self._tools = tools
        self._progress: Mapping[str, _Progress] = {query.model: _Progress() for query in queries}

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
        """Fits the query's model if it is time, and promotes it if it is good; None when there was nothing to do."""
        try:
            await self._announce_newest(query.model)
            learnt = await asyncio.to_thread(self._fit_if_due, query)
            if learnt is not None:
                await self._conclude(learnt)
        except (ModelsError, BusUnavailable, OSError) as error:
            _log.warning("learning %s has to wait: %s", query.model, error, extra={"action": "learn"})
            return None
        return learnt

    async def on_control(self, event: Event) -> None:
        """Notes that a model was promoted or retired; to be subscribed to the control topic."""
        if isinstance(event, ModelPromoted | ModelRetired) and event.data.name in self._progress:
            progress = self._progress[event.data.name]
            progress.last_act = max(event.time, progress.last_act or event.time)

    async def _announce_newest(self, model: str) -> None:
        manifest = self._newest(model)
        if manifest is None:
            return
        last_act = self._progress[model].last_act
        told_since = last_act is not None and last_act >= datetime.fromisoformat(manifest.created_at)
        if not told_since and not promotion_problems(manifest):
            await self._promote(manifest)

    def _fit_if_due(self, query: LogQuery) -> Learnt | None:
        progress, required = self._progress[query.model], self._rows_required(query.model)
        closed = closed_contacts(query)
        # Contacts bound the rows of one model from above, and counting them needs no event decoded.
        if progress.rows + closed - progress.closed < max(required, progress.wanted):
            return None
        examples = labelled_examples(query, _quiet)
        progress.rows, progress.closed = len(examples), closed
        # Whatever stands in the way of a fit now would stand there with the same rows again.
        progress.wanted = round(len(examples) * (1 + _RETRY_SHARE))
        if len(examples) < required or sum(e.accepted for e in examples) < self._schedule.least_positives:
            return None
        rows = example_set(query, examples)
        fitted = fit_model(query.model, rows, query.attribution_seconds, self._settings, _log_progress)
        manifest = self._tools.registry.save(fitted.draft, fitted.files, self._tools.now())
        return Learnt(manifest, tuple(promotion_problems(manifest)))

    def _rows_required(self, model: str) -> int:
        manifest = self._newest(model)
        if manifest is None or manifest.data is None:
            return self._schedule.least_rows
        return manifest.data.rows + self._schedule.step_rows

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
                "%s is not promoted: %s",
                *(learnt.manifest.version, "; ".join(learnt.problems)),
                extra={"action": "learn"},
            )
            return
        await self._promote(learnt.manifest)

    async def _promote(self, manifest: Manifest) -> None:
        event = self._tools.promotion_of(manifest, event_id=self._tools.new_id(), at=self._tools.now(), actor=_ACTOR)
        outgoing = OutgoingEvent(topic=topic_for(event.type), key=event.subject, value=encode(event))
        await self._tools.publisher.publish([outgoing])
        await self.on_control(event)
        _log.info("%s is promoted", manifest.version, extra={"action": "learn"})


def _quiet(_: str) -> None:
    """Looking is not worth a log line; fitting is."""


def _log_progress(sentence: str) -> None:
    _log.info("%s", sentence, extra={"action": "learn"})
