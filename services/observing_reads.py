"""What is read of the archive for the observing pages, in the process that reads it: nothing of the API is imported
here, so that it is there soon."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from decision_engine.prepared import PreparedStrategy
from event_schemas.topics import DECISIONS
from models.decision_log.archive_files import TimeRange, archive_files
from models.errors import ModelsError
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.sampled_archive import SampledArchive
from services.adapters.strategy_versions import StrategyVersions
from services.ports import StrategyUnknown
from services.use_cases.observing.funnel_log import MOST_REQUESTS, FunnelLog, Reading, fold_log
from services.use_cases.observing.results_period import Period
from services.use_cases.observing.results_reading import NothingArchived, NotJudged, ReadingFailed

if TYPE_CHECKING:
    from models.drift.findings import DriftReport
    from models.evaluation.experiments import ExperimentResult

MOST_JUDGED = 200_000
"""Decisions that arms and drift are judged on for a page; more are for the command."""
RESPONSES_LATE_MS = 30 * 86_400_000
"""Responses are read until so long after the period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are kept, and how long after an impression a response counts."""

    archive: Path
    strategies: Path
    models: Path
    attribution_seconds: int


def read_funnel(places: Places, period: Period, segments: Mapping[str, str]) -> FunnelLog:
    """The columns of the period, sampled where it has more requests than a page can wait for. Raises NothingArchived,
    LogTooLarge, ReadingFailed."""
    archive, versions = SampledArchive(places.archive), _versions(places)
    try:
        _require_archive(places.archive)
        held = archive.decisions_held(period.times)
        share = min(1.0, MOST_REQUESTS / held) if held else 1.0
        reading = Reading(
            starts_ms=period.starts_ms, segments=segments, strategy_of=lambda v: _prepared(versions, v), share=share
        )
        later = TimeRange(since_ms=period.starts_ms[0], until_ms=period.starts_ms[-1] + RESPONSES_LATE_MS)
        return fold_log(reading, archive.decisions(period.times, share), archive.responses(later, share))
    except OSError as error:
        raise ReadingFailed(str(error)) from error


def read_experiments(places: Places, period: Period, version: str) -> "list[ExperimentResult]":
    """Every experiment of the period's log. Raises NothingArchived, NotJudged, ReadingFailed."""
    from models.decision_log.offer_catalogue import offer_facts
    from models.evaluation.experiment_report import ExperimentQuery, experiment_results

    try:
        _require_archive(places.archive)
        _require_few(places.archive, period.times)
        query = ExperimentQuery(
            archive=places.archive,
            offers=offer_facts(_versions(places).prepared(version).strategy),
            attribution_seconds=places.attribution_seconds,
            period=period.times,
        )
        return experiment_results(query, _quiet)
    except ModelsError as error:
        raise NotJudged(str(error)) from error
    except OSError as error:
        raise ReadingFailed(str(error)) from error


def read_drift(places: Places, version: str, active: str) -> "DriftReport":
    """What has moved since a model version was made. Raises NothingArchived, NotJudged, ReadingFailed."""
    from models.decision_log.labelled_rows import LogQuery
    from models.decision_log.offer_catalogue import offer_facts
    from models.drift.log_drift import later_than, log_drift, watched_version
    from models.registry import ModelRegistry

    registry = ModelRegistry(places.models)
    try:
        _require_archive(places.archive)
        watched, data = watched_version(registry, version), registry.manifest(version).data
        strategy = _versions(places).prepared(active).strategy
        query = LogQuery(
            model=registry.manifest(version).name,
            archive=places.archive,
            offers=offer_facts(strategy),
            zone=ZoneInfo(strategy.time_zone),
            # Labels are those the version was made with, or its rates are not its own.
            attribution_seconds=places.attribution_seconds if data is None else data.attribution_seconds,
        )
        _require_few(places.archive, later_than(query, watched.until_ms).period)
        return log_drift(query, watched, _quiet)
    except ModelsError as error:
        raise NotJudged(str(error)) from error
    except OSError as error:
        raise ReadingFailed(str(error)) from error


def _versions(places: Places) -> StrategyVersions:
    return _kept_versions(places.strategies)


@lru_cache(maxsize=1)
def _kept_versions(root: Path) -> StrategyVersions:
    """The same at every read: it keeps prepared what it has prepared once."""
    return StrategyVersions(root, load_strategy_file)


def _prepared(versions: StrategyVersions, version: str) -> PreparedStrategy | None:
    try:
        return versions.prepared(version)
    except StrategyUnknown:
        return None


def _require_archive(root: Path) -> None:
    if not (root / f"topic={DECISIONS}").is_dir():
        raise NothingArchived(f"no decision has been archived in {root} yet")


def _require_few(root: Path, wanted: TimeRange) -> None:
    held = sum(file.last - file.first + 1 for file in archive_files(root, DECISIONS, wanted))
    if held > MOST_JUDGED:
        raise NotJudged(f"{held:,} decisions are more than a page judges ({MOST_JUDGED:,})")


def _quiet(_: str) -> None:
    """Nobody looks on."""
