"""`kairos models drift`: what has moved since a version was made; and how the learner tells of the same."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.decision_log.archive_files import TimeRange
from models.decision_log.labelled_rows import LogQuery
from models.drift.findings import DriftKind, DriftLimits, DriftReport
from models.drift.log_drift import log_drift, watched_version
from models.drift.report import report_json, report_lines
from models.registry import ModelRegistry
from services.adapters.prometheus_metrics import Declared, PrometheusMetrics
from services.commands.train import moment_ms

METRICS = {
    "model_drift": Declared(
        "gauge", ("model", "kind"), "Drift of the version in service: the worst figure of a kind, see docs/models.md"
    ),
    "model_drift_alarm": Declared(
        "gauge", ("model", "kind"), "1 while the worst figure of a kind is beyond its limit and beyond chance"
    ),
    "model_drift_rows": Declared("gauge", ("model",), "Labelled rows that the drift figures rest on"),
}


def add_drift_arguments(parser: argparse.ArgumentParser) -> None:
    """Which version, on which log, and where to write the report."""
    parser.add_argument("version")
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--until", type=moment_ms, help="decisions before this moment only, RFC 3339 (default: all)")
    parser.add_argument("--recent", type=int, help="newest rows that columns and scores are compared by")
    parser.add_argument("--out", type=Path, help="also write the report to this file, as JSON")


def told_drift(args: argparse.Namespace, query: LogQuery, registry: ModelRegistry) -> Sequence[str]:
    """The report's lines, after it was written where that was asked for. Raises ModelsError."""
    wanted = replace(query, period=TimeRange(until_ms=args.until))
    limits = DriftLimits() if args.recent is None else DriftLimits(recent_rows=max(1, args.recent))
    watched = watched_version(registry, args.version)
    report = log_drift(wanted, watched, lambda line: print(line, file=sys.stderr, flush=True), limits)
    if args.out is not None:
        args.out.write_text(report_json(report), encoding="utf-8")
    return report_lines(report)


def export_drift(metrics: PrometheusMetrics, model: str, report: DriftReport) -> None:
    """One series a kind, and the stability index of the columns: as many as the strategy has attributes."""
    metrics.gauge("model_drift_rows", report.rows, model=model)
    for kind in DriftKind:
        worst = report.worst(kind)
        if worst is not None:
            metrics.gauge("model_drift", worst.value, model=model, kind=kind.value)
        # What is not known of this version must not go on alarming for the one before it.
        beyond = worst is not None and worst.beyond
        metrics.gauge("model_drift_alarm", float(beyond), model=model, kind=kind.value)
    metrics.forget("feature_psi", model=model)  # another version may have other columns
    for figure in report.figures:
        if figure.kind is DriftKind.COLUMN:
            metrics.gauge("feature_psi", figure.value, model=model, feature=figure.name)
