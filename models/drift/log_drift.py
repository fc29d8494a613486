"""The drift of a registered version, from the archive: labelled rows later than all it was made of."""

from dataclasses import dataclass, replace

from decision_engine.propensity import Scorer
from models.decision_log.archive_files import TimeRange
from models.decision_log.design_matrix import build_examples
from models.decision_log.labelled_rows import LogQuery, Progress, labelled_examples
from models.drift.findings import DriftLimits, DriftReport, drift_report
from models.drift.reference import REFERENCE_FILE, Reference, decode_reference
from models.errors import EvaluationRefused
from models.registry import ModelRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A version, what its training rows looked like, and up to when they reach (epoch milliseconds, exclusive)."""

    scorer: Scorer
    reference: Reference
    until_ms: int


def watched_version(registry: ModelRegistry, version: str) -> Watched:
    """A version that can be watched. Raises EvaluationRefused for one without a reference, and RegistryError."""
    manifest, reference = registry.manifest(version), registry.file(version, REFERENCE_FILE)
    if manifest.data is None or reference is None:
        raise EvaluationRefused(
            f"{version} has no {REFERENCE_FILE}, so nothing is known of its training rows: train a new version"
        )
    return Watched(
        scorer=registry.load(version), reference=decode_reference(reference), until_ms=manifest.data.until_ms
    )


def log_drift(query: LogQuery, watched: Watched, progress: Progress, limits: DriftLimits | None = None) -> DriftReport:
    """The report on the query's rows later than those the version was made of. Raises ModelsError."""
    examples = labelled_examples(later_than(query, watched.until_ms), progress)
    version = watched.scorer.version
    if not examples:
        return DriftReport(version=version, rows=0, recent=0, positives=0)
    rows = build_examples(examples, watched.scorer.schema, query.zone)
    return drift_report(version, watched.reference, rows, watched.scorer.score(rows.matrix), limits)


def later_than(query: LogQuery, moment_ms: int) -> LogQuery:
    """The query's rows from that moment on."""
    since_ms = max(moment_ms, query.period.since_ms or 0)
    return replace(query, period=TimeRange(since_ms=since_ms, until_ms=query.period.until_ms))
