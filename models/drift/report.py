"""A drift report for people and for programs."""

import json
import math
from collections.abc import Mapping

from models.drift.findings import DriftFigure, DriftKind, DriftReport
from models.evaluation.report import aligned

_SHOWN_COLUMNS = 12


def report_lines(report: DriftReport) -> list[str]:
    """What stands out first; of the columns the ones that moved most."""
    if not report.rows:
        return [f"version  {report.version}", "no labelled rows later than those it was made of: nothing to compare"]
    columns = sorted(
        (f for f in report.figures if f.kind in {DriftKind.COLUMN, DriftKind.MISSING}),
        key=lambda figure: (not figure.beyond, -figure.value),
    )
    others = [f for f in report.figures if f.kind not in {DriftKind.COLUMN, DriftKind.MISSING}]
    table: list[tuple[str, ...]] = [("figure", "of", "value", "limit", "95 % interval", "")]
    table += [_cells(figure) for figure in [*others, *columns[:_SHOWN_COLUMNS]]]
    return [
        f"version  {report.version}",
        f"rows     {report.rows:,} since it was made, {report.positives:,} positive; "
        f"columns by the newest {report.recent:,}",
        "",
        *aligned(table),
        "",
        *(f"ALARM    {figure.name}: {figure.detail}" for figure in report.alarms),
        *(f"warning  {figure.kind.value} {figure.name}: {figure.detail}" for figure in report.warnings),
        *(() if report.alarms or report.warnings else ("nothing has drifted beyond chance and the limits",)),
    ]


def report_json(report: DriftReport) -> str:
    """The whole report as JSON; what is not finite is null."""
    return json.dumps(report_mapping(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def report_mapping(report: DriftReport) -> Mapping[str, object]:
    """The whole report as plain values."""
    return {
        "version": report.version,
        "rows": report.rows,
        "recent": report.recent,
        "positives": report.positives,
        "alarm": bool(report.alarms),
        "reason": report.reason,
        "figures": [_figure_mapping(figure) for figure in report.figures],
    }


def _figure_mapping(figure: DriftFigure) -> Mapping[str, object]:
    interval = None if figure.interval is None else [_finite(figure.interval.low), _finite(figure.interval.high)]
    return {
        "kind": figure.kind.value,
        "name": figure.name,
        "value": _finite(figure.value),
        "limit": _finite(figure.limit),
        "interval": interval,
        "watched": figure.watched,
        "beyond": figure.beyond,
        "detail": figure.detail,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cells(figure: DriftFigure) -> tuple[str, ...]:
    interval = figure.interval
    shown = "" if interval is None else f"{interval.low:.2f} .. {interval.high:.2f}"
    said = "beyond" if figure.beyond else "" if figure.watched else "shown only"
    limit = "too few rows" if not math.isfinite(figure.limit) else f"{figure.limit:.3f}"
    name = "" if figure.name == figure.kind.value else figure.name
    return (figure.kind.value, name, f"{figure.value:.3f}", limit, shown, said)
