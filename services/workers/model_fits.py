"""Fits of models: what is due is fitted on the archive's rows, checked beside the version in service, registered."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from models.decision_log.examples import Example
from models.decision_log.labelled_rows import LogQuery, labelled_examples
from models.errors import RegistryError
from models.evaluation.promotion_checks import (
    BESIDE_CHAMPION,
    CHECKS_FILE,
    LEAST_COMPARED,
    Champion,
    Check,
    Judged,
    assess,
    encode_assessment,
)
from models.manifest import Manifest
from models.training.fit import FitSettings, FittedModel
from models.training.pipeline import fit_query
from services.workers.fit_occasions import FitOccasions, seen_until_ms
from services.workers.learner_tools import LearnerTools, Learnt
from services.workers.learning_progress import LearningProgress
from services.workers.learning_schedule import LearningSchedule

_log = logging.getLogger(__name__)
_RETRY_SHARE = 0.05
"""After a reading that led to no model the next waits for a twentieth more rows."""


class ModelFits:
    """Fits and registers; puts nothing forward."""

    def __init__(
        self, schedule: LearningSchedule, tools: LearnerTools, progress: Mapping[str, LearningProgress]
    ) -> None:
        self._settings = FitSettings(
            least_rows=schedule.least_rows, least_positives=schedule.least_positives, regrow=True
        )
        self._schedule = schedule
        self._tools = tools
        self._progress = progress
        self._occasions = FitOccasions(schedule, tools, progress)

    def fit_if_due(self, query: LogQuery) -> Learnt | None:
        """Fits when it is time, and registers what came of it with its checks; None when nothing was due."""
        newest = self.newest(query.model)
        query = self._occasions.since_drift(query, newest)
        closed = self._tools.contacts.closed(query)
        reason = self._occasions.due(query, newest, closed)
        if reason is None:
            # Asked last: what is due anyway is fitted on all rows.
            return self._fit_if_drifted(query, newest)
        progress = self._progress[query.model]
        examples = labelled_examples(query, _quiet)
        progress.rows, progress.closed = len(examples), closed
        # Whatever stands in the way of a fit now would stand there with the same rows again.
        progress.wanted = round(len(examples) * (1 + _RETRY_SHARE))
        fresh = sum(example.decision.decided_ms >= seen_until_ms(newest) for example in examples)
        positives = sum(example.accepted for example in examples)
        enough = self._occasions.enough(newest, reason, len(examples), fresh)
        if not enough or positives < self._schedule.least_positives:
            return None
        fitted = fit_query(self._with_groups(query), examples, self._fit_settings(query.model, examples), _log_progress)
        return self._registered(query, fitted, examples, reason)

    def _fit_if_drifted(self, query: LogQuery, newest: Manifest | None) -> Learnt | None:
        """Fits on the newest rows alone when the version in service has drifted. What comes later starts there too,
        unless somebody declines it."""
        watch = self._tools.drift
        if watch is None or newest is None or self._occasions.waiting(query.model) is not None:
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

    def newest(self, model: str) -> Manifest | None:
        """The newest version's manifest; None where there is none that can be trusted."""
        newest = self._tools.registry.newest(model)
        try:
            return None if newest is None else self._tools.registry.verify(newest)
        except RegistryError as error:
            _log.error("%s cannot be trusted: %s", newest, error, extra={"action": "learn"})
            return None

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


def _quiet(_: str) -> None:
    """Looking is not worth a log line; fitting is."""


def _log_progress(sentence: str) -> None:
    _log.info("%s", sentence, extra={"action": "learn"})
