"""When it is time to fit a model: enough is new, the timetable says so; and from which rows on, where what went before
has drifted away."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from models.decision_log.labelled_rows import LogQuery
from models.drift.log_drift import later_than
from models.errors import RegistryError
from models.evaluation.promotion_checks import CHECKS_FILE, decode_assessment
from models.manifest import Manifest
from services.workers.learner_tools import LearnerTools
from services.workers.learning_progress import LearningProgress
from services.workers.learning_schedule import LearningSchedule
from services.workers.training_window import drift_start_ms

_log = logging.getLogger(__name__)


class FitOccasions:
    """Judges for each model, by its progress, whether a fit is due."""

    def __init__(
        self, schedule: LearningSchedule, tools: LearnerTools, progress: Mapping[str, LearningProgress]
    ) -> None:
        self._schedule = schedule
        self._tools = tools
        self._progress = progress

    def due(self, query: LogQuery, newest: Manifest | None, closed: int) -> str | None:
        """Why it is time to fit: `rows` or `schedule`; None when it is not."""
        progress = self._progress[query.model]
        # Contacts bound the rows of one model from above, and counting them needs no event decoded.
        rows = progress.rows + closed - progress.closed
        fresh = closed - self._tools.contacts.seen(query, seen_until_ms(newest))
        if rows >= progress.wanted and self.enough(newest, "rows", rows, fresh):
            return "rows"
        moment = self._scheduled(query, newest)
        if moment is None or moment == progress.tried or not self.enough(newest, "schedule", rows, fresh):
            return None
        progress.tried = moment
        return "schedule"

    def _scheduled(self, query: LogQuery, newest: Manifest | None) -> datetime | None:
        """The moment of the timetable that has come since the newest version was fitted."""
        if self._schedule.timetable is None or newest is None:
            return None
        moment = self._schedule.timetable.latest(self._tools.now(), query.zone)
        return moment if moment > datetime.fromisoformat(newest.created_at).astimezone(UTC) else None

    def enough(self, newest: Manifest | None, reason: str, rows: int, fresh: int) -> bool:
        """Whether so many rows, of which `fresh` are later than the newest version's, are worth a fit."""
        if newest is None or newest.data is None:
            return rows >= self._schedule.least_rows
        # By the clock, anything new is enough.
        step = self._schedule.step_rows if reason == "rows" else 1
        if drift_start_ms(newest, self._tools.registry) == self._progress[newest.name].since_ms:
            return rows >= newest.data.rows + step
        return fresh >= step and rows >= self._schedule.least_rows  # fitted on another window: its rows are not these

    def waiting(self, model: str) -> str | None:
        """The version that waits for a person."""
        return self._progress[model].waiting(self._tools.now(), self._tools.proposal_days)

    def since_drift(self, query: LogQuery, newest: Manifest | None) -> LogQuery:
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
        named = self.waiting(model) or self._progress[model].champion
        if named is not None:
            try:
                return self._tools.registry.manifest(named)
            except RegistryError as error:
                _log.error("%s cannot be read: %s", named, error, extra={"action": "learn"})
        if newest is None or newest.version == self._progress[model].declined:
            return None
        checks = self._tools.registry.file(newest.version, CHECKS_FILE)
        return newest if checks is None or not decode_assessment(checks).problems else None


def seen_until_ms(newest: Manifest | None) -> int:
    """Up to when a version has seen rows; 0 where there is none."""
    return 0 if newest is None or newest.data is None else newest.data.until_ms
