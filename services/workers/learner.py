"""The learner: watches the archive, fits when enough has been learnt, and puts forward what passes its checks.

Putting forward is proposing, for a second person to approve, or, where the bank has decided that the checks are
enough, promoting. It keeps nothing of its own. What a model was last fitted on is in its newest manifest and what was
checked in that version's folder, so a restart neither repeats a fit nor forgets one. A good version whose announcement
was lost in a crash is announced at the next look; one that somebody has replaced, declined or retired since is left
alone, which the control topic tells.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from event_schemas.codec import Event, encode
from event_schemas.control import ModelPromoted
from event_schemas.topics import topic_for
from models.decision_log.labelled_rows import LogQuery
from models.errors import ModelsError
from models.evaluation.promotion_checks import CHECKS_FILE, Assessment, decode_assessment
from models.manifest import Manifest
from services.ports import BusUnavailable, OutgoingEvent
from services.workers.learner_tools import LearnerTools, Learnt
from services.workers.learning_progress import LearningProgress, ModelAct
from services.workers.learning_schedule import LearningSchedule
from services.workers.model_fits import ModelFits

_log = logging.getLogger(__name__)
_ACTOR = "learner"


class Learner:
    """Fits each query's model by the schedule."""

    def __init__(self, queries: Sequence[LogQuery], schedule: LearningSchedule, tools: LearnerTools) -> None:
        self._queries = tuple(queries)
        self._schedule = schedule
        self._tools = tools
        self._progress: dict[str, LearningProgress] = {query.model: LearningProgress() for query in queries}
        self._fits = ModelFits(schedule, tools, self._progress)

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
            learnt = await asyncio.to_thread(self._fits.fit_if_due, query)
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
        if isinstance(event, ModelAct) and event.data.name in self._progress:
            self._progress[event.data.name].note(event)

    async def _announce_newest(self, model: str) -> None:
        manifest = self._fits.newest(model)
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
