"""A report as one self-contained page: no scripts, nothing fetched, light and dark as the reader's system says."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from models.evaluation.full_report.column_sections import explained_section, importance_section
from models.evaluation.full_report.effect_sections import policy_section, uplift_section_markup
from models.evaluation.full_report.html_table import paragraph
from models.evaluation.full_report.ranking_sections import (
    calibration_section,
    lift_section,
    measures_section,
    slices_section,
)
from models.evaluation.full_report.report_content import EvaluationReport
from models.evaluation.full_report.standing_sections import fairness_section, stability_section

_STYLE = Path(__file__).with_name("report.css")


def report_page(report: EvaluationReport) -> str:
    """The page; equal reports have equal pages."""
    sections = list(_sections(report))
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(content)}</section>'
        for name, title, content in sections
    )
    title = f"Evaluation of {report.head.version}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head><body>"
        f"{''.join(_header(report))}<nav>{links}</nav><main>{body}</main>{_footer(report)}</body></html>\n"
    )


def _sections(report: EvaluationReport) -> Iterator[tuple[str, str, Iterable[str]]]:
    yield "measures", "Discrimination and loss", measures_section(report)
    yield "calibration", "Calibration", calibration_section(report.calibration)
    yield "lift", "Lift and gains", lift_section(report.lift)
    yield "uplift", "Uplift and Qini", uplift_section_markup(report.uplift)
    yield "slices", "By segment, channel and time", slices_section(report)
    yield "importance", "Importance of columns", importance_section(report.importance)
    yield "explained", "A single decision", explained_section(report.explained)
    yield "stability", "Stability", stability_section(report)
    yield "fairness", "Fairness between groups", fairness_section(report)
    yield "policy", "Value of ranking by this version", policy_section(report.policy)


def _header(report: EvaluationReport) -> Iterator[str]:
    head = report.head
    yield f"<h1>Evaluation of {escape(head.model)}</h1>"
    yield f'<p class="mono muted">{escape(head.version)}</p>'
    period = f"{_day(head.first_ms)} to {_day(head.last_ms)}"
    yield paragraph(
        f"Judged on {head.rows:,} options shown to {head.customers:,} customers, {head.positives:,} accepted, decided "
        f"from {period} (UTC), and on {head.decisions:,} personalised decisions of that time. Accepted means: accept "
        f"or convert within {_span(head.attribution_seconds)} of the first impression."
    )
    if head.learnt_rows_judged:
        yield paragraph(
            f"{head.learnt_rows_judged:,} of these rows were decided before {_day(head.learnt_until_ms)} and learnt "
            "from: they flatter the version.",
            "note warn",
        )
    else:
        yield paragraph("The version learnt from none of these rows.", "muted")
    yield f'<div class="tiles">{"".join(_tiles(report))}</div>'


def _tiles(report: EvaluationReport) -> Iterator[str]:
    measures = report.measures
    auc, gain = measures["auc"], measures["log_loss_gain"]
    yield _tile("AUC", f"{auc.value:.3f}", _reach(auc.low, auc.high, "{:.3f}"))
    yield _tile("log loss gained on base rates", f"{gain.value:+.4f}", _reach(gain.low, gain.high, "{:+.4f}"))
    ratio = report.calibration.predicted_to_observed
    shown = "no acceptance" if ratio is None else f"predicted / observed {ratio:.2f}"
    yield _tile("calibration error", f"{report.calibration.error:.4f}", shown)
    if report.lift is not None:
        tenth = next(point for point in report.lift.points if round(point.share * 100) == 10)
        yield _tile("lift of the best tenth", f"{tenth.lift:.2f}", f"{tenth.reached:.0%} of acceptances")
    yield _uplift_tile(report)
    yield _policy_tile(report)


def _uplift_tile(report: EvaluationReport) -> str:
    if not report.uplift.comparisons:
        return _tile("uplift", "not known", "no comparison in this log")
    first = report.uplift.comparisons[0]
    found = first.curve.uplift
    return _tile(f"uplift against {first.against}", f"{found.value:+.4f}", _reach(found.low, found.high, "{:+.4f}"))


def _policy_tile(report: EvaluationReport) -> str:
    judged = report.policy.report
    if judged is None:
        return _tile("off-policy value", "not known", "see below")
    policy = judged.policies[0]
    found = policy.estimates[policy.headline]
    reach = "no conclusion, see below" if policy.refusals else _reach(found.low, found.high, "{:.4f}")
    return _tile(f"off-policy value, log {judged.logged.value:.4f}", f"{found.value:.4f}", reach)


def _tile(title: str, figure: str, below: str) -> str:
    return f'<div class="tile"><span>{escape(title)}</span><b>{escape(figure)}</b><span>{escape(below)}</span></div>'


def _reach(low: float | None, high: float | None, form: str) -> str:
    return "no interval" if low is None or high is None else f"{form.format(low)} to {form.format(high)}"


def _footer(report: EvaluationReport) -> str:
    head = report.head
    said = (
        f"Intervals are 95 %: DeLong for AUC, exact binomial for rates of rows, over customers for rates of decisions. "
        f"Nothing is shown of fewer than {head.least_rows} rows or customers. Seed of all draws: {head.seed}. "
        "Money is in minor units. Many figures are shown: one in twenty intervals misses the truth by chance."
    )
    return f"<footer>{paragraph(said)}</footer>"


def _day(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _span(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds:,} seconds"
