"""The head of a report as lines for a terminal."""

from collections.abc import Iterator

from models.evaluation.full_report.holdout_uplift import EARNED
from models.evaluation.full_report.html_table import interval, number
from models.evaluation.full_report.report_content import EvaluationReport
from models.evaluation.report import aligned, metrics_table


def summary_lines(report: EvaluationReport) -> list[str]:
    """The measures, and one line for each further section."""
    head = report.head
    lines = [
        f"version    {head.version}",
        f"judged     {head.rows:,} options of {head.customers:,} customers, {head.decisions:,} decisions; "
        f"seed {head.seed}",
    ]
    if head.learnt_rows_judged:
        lines.append(f"note       {head.learnt_rows_judged:,} of these rows were learnt from: they flatter the version")
    lines += ["", *metrics_table(report.measures), ""]
    return [*lines, *aligned([("section", "figure", "95 % interval"), *_further(report)]), *_remarks(report)]


def _further(report: EvaluationReport) -> Iterator[tuple[str, str, str]]:
    if report.lift is not None:
        tenth = next(point for point in report.lift.points if round(point.share * 100) == 10)
        yield "lift of the best tenth", f"{tenth.lift:.2f}", ""
        yield "area under the gains curve (ALIFT)", f"{report.lift.area:.4f}", ""
    for found in report.uplift.comparisons:
        curve = found.curve
        form = "{:+,.1f}" if found.outcome == EARNED else "{:+.4f}"
        title = f"uplift against {found.against} ({found.outcome})"
        yield title, form.format(curve.uplift.value), interval(curve.uplift, form)
        yield "  its Qini coefficient", form.format(curve.coefficient.value), interval(curve.coefficient, form)
    shifted = max(report.stability.shifts, key=lambda shift: shift.index, default=None)
    if shifted is not None:
        yield f"largest stability index ({shifted.part})", number(shifted.index), ""
    for table in report.fairness:
        ratios = [group.ratio for group in table.groups if group.ratio is not None]
        lowest = min(ratios, key=lambda ratio: ratio.value, default=None)
        if lowest is not None:
            yield f"lowest ratio of offers by {table.attribute}", f"{lowest.value:.3f}", interval(lowest, "{:.3f}")
    judged = report.policy.report
    if judged is not None:
        policy = judged.policies[0]
        found_value = policy.estimates[policy.headline]
        yield f"off-policy value ({policy.headline.value})", f"{found_value.value:.5f}", interval(found_value, "{:.5f}")


def _remarks(report: EvaluationReport) -> Iterator[str]:
    remarks = [*report.uplift.statements, report.fairness_note]
    remarks += [f"by {table.attribute}: {table.statement}" for table in report.fairness]
    judged = report.policy.report
    remarks += [report.policy.statement] if judged is None else [r for p in judged.policies for r in p.refusals]
    yield from (f"note  {remark}" for remark in remarks if remark)
