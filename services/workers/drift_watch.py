"""Watches the version in service for drift, and says when a fit on recent rows is due because of it.

A look reads the archive's rows later than the version's own, compares them with the version's reference, and tells
`on_report`. An alarm asks for a fit when two looks in a row have it, and no fit of the model, whoever asked for it, was
made within the rest: a version that waits for approval is not fitted again at every look.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from models.decision_log.contact_index import ContactIndex
from models.decision_log.labelled_rows import LogQuery
from models.drift.findings import DriftFigure, DriftReport
from models.drift.log_drift import Watched, later_than, log_drift, watched_version
from models.errors import ModelsError, RegistryError
from models.registry import ModelRegistry

_log = logging.getLogger(__name__)
_FRESH_SHARE = 0.02
"""An archive is read again once it has a fiftieth more contacts than at the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSchedule:
    """How often to look, at how many recent rows a fit that drift starts looks, and how long after any fit it waits."""

    every_seconds: float
    refit_rows: int
    rest_seconds: float


@dataclass(slots=True)
class _Standing:
    """What is known of one model in this process."""

    watched: Watched | None = None
    version: str | None = None
    looked: datetime | None = None
    contacts: int = -1
    alarms: int = 0
    """Looks in a row that had an alarm."""
    report: DriftReport | None = None
    started: datetime | None = None
    """When drift last started a fit."""


@dataclass(slots=True, kw_only=True)
class DriftWatch:
    """Looks at one version of each model, the one that its owner says is in service."""

    registry: ModelRegistry
    schedule: DriftSchedule
    now: Callable[[], datetime]
    on_report: Callable[[str, DriftReport], None] = lambda _, __: None
    contacts: ContactIndex = field(default_factory=ContactIndex)
    _standing: dict[str, _Standing] = field(default_factory=dict)

    def due(self, query: LogQuery, version: str | None, fitted_at: datetime | None) -> str | None:
        """Why the model is to be fitted on recent rows now, such as `drift:calibration`; None when it is not.
        `fitted_at` is when its newest version was made. Reads the archive: to be called off the event loop."""
        standing, now = self._standing.setdefault(query.model, _Standing()), self.now()
        if version != standing.version:
            standing = self._standing[query.model] = _Standing(version=version, started=standing.started)
        if version is None or (standing.looked is not None and now < standing.looked + self._every):
            return None
        standing.looked = now
        try:
            self._look(query, version, standing)
        except ModelsError as error:
            _log.warning("the drift of %s is not known: %s", version, error, extra={"action": "watch_drift"})
            return None
        if standing.report is None or standing.alarms < 2 or self._rests(now, fitted_at, standing.started):
            return None
        standing.started = now
        return standing.report.reason

    @property
    def _every(self) -> timedelta:
        return timedelta(seconds=self.schedule.every_seconds)

    def _rests(self, now: datetime, *fits: datetime | None) -> bool:
        rest = timedelta(seconds=self.schedule.rest_seconds)
        return any(fit is not None and now < fit + rest for fit in fits)

    def _look(self, query: LogQuery, version: str, standing: _Standing) -> None:
        """Counts another look at the same rows where hardly any came since the last."""
        if standing.watched is None:
            standing.watched = self._watched(version)
        if standing.watched is None:
            return
        contacts = self.contacts.closed(later_than(query, standing.watched.until_ms))
        if standing.report is None or contacts > standing.contacts * (1 + _FRESH_SHARE):
            standing.contacts = contacts
            standing.report = log_drift(query, standing.watched, _quiet)
            _tell(query.model, standing.report)
            self.on_report(query.model, standing.report)
        standing.alarms = standing.alarms + 1 if standing.report.alarms else 0

    def _watched(self, version: str) -> Watched | None:
        try:
            return watched_version(self.registry, version)
        except RegistryError as error:
            _log.error("%s cannot be watched: %s", version, error, extra={"action": "watch_drift"})
            return None


def _tell(model: str, report: DriftReport) -> None:
    for level, figures in ((logging.ERROR, report.alarms), (logging.WARNING, report.warnings)):
        for figure in figures:
            _log.log(level, "%s", _sentence(report.version, figure), extra=_fields(model, report, figure))
    if not report.alarms:
        rows = f"{report.rows:,} rows since it was made"
        _log.info("%s: no alarm of drift, %s", report.version, rows, extra={"action": "watch_drift", "model": model})


def _sentence(version: str, figure: DriftFigure) -> str:
    return f"{version} has drifted in {figure.kind.value} ({figure.name}): {figure.detail}"


def _fields(model: str, report: DriftReport, figure: DriftFigure) -> dict[str, object]:
    return {
        "action": "watch_drift",
        "model": model,
        "version": report.version,
        "kind": figure.kind.value,
        "figure": figure.name,
        "value": round(figure.value, 4),
        "rows": report.rows,
    }


def _quiet(_: str) -> None:
    """Looking is not worth a log line; what it found is."""
