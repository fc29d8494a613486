"""The sections on stability over time and between fits, and on fairness between groups."""

from collections.abc import Iterator
from html import escape

from models.evaluation.full_report.fairness import FairnessTable, GroupFigures
from models.evaluation.full_report.html_table import (
    PERCENT,
    Content,
    figure,
    figures,
    flag,
    glyphs,
    interval,
    number,
    paragraph,
    table,
    value,
)
from models.evaluation.full_report.report_content import EvaluationReport
from models.evaluation.full_report.report_plots import shift_plot, weekly_auc_plot
from models.evaluation.full_report.score_stability import LARGE_SHIFT, SMALL_SHIFT, Shift


def stability_section(report: EvaluationReport) -> Iterator[str]:
    """Shifts, AUC by week, agreement with other fits."""
    found = report.stability
    yield paragraph(
        f"The population stability index compares the scores of a part with those of the {found.reference_rows:,} rows "
        f"the trees were fitted on; below {SMALL_SHIFT} is no shift by convention, above {LARGE_SHIFT} a large one. A "
        "shift says that customers or offers changed, not that the version became worse; the AUC by week says that."
    )
    plots = [figure(weekly_auc_plot(found.weeks, report.measures["auc"].value), "AUC by week; dashed: all weeks.")]
    if found.shifts:
        plots.insert(0, figure(shift_plot(found.shifts), "Stability index of the scores, by part."))
    yield figures(*plots)
    if not found.shifts:
        yield paragraph("The rows learnt from are not in the archive, so no shift against them is known.", "note")
    yield table(
        ("part", "rows", "mean score", "stability index", ""),
        [
            (one.part, f"{one.rows:,}", number(one.mean_score), number(one.index), _shift_word(one))
            for one in found.shifts
        ],
    )
    yield table(
        ("week", "rows", "accepted", "AUC", "95 % interval"),
        [
            (one.week, f"{one.rows:,}", f"{one.accepted:,}", value(one.auc, "{:.3f}"), interval(one.auc, "{:.3f}"))
            for one in found.weeks
        ],
    )
    yield "<h3>Other fits of the same model</h3>"
    if not found.agreements:
        yield paragraph("The registry has no other version of this model.", "muted")
    yield table(
        ("version", "rank correlation on the judged rows", "its AUC", "95 % interval"),
        [
            (one.version, number(one.rank_correlation, "{:.3f}"), value(one.auc), interval(one.auc))
            for one in found.agreements
        ],
    )


def fairness_section(report: EvaluationReport) -> Iterator[str]:
    """One table an attribute."""
    yield paragraph(
        "Groups by attributes the model does not read, and bands of others. Rate of offers: share of personalised "
        "decisions outside the holdout with an offer of this model. The ratio is to the highest rate; below 0.8 "
        "(four fifths) a group is marked. Predicted less accepted near zero: the probabilities "
        "are right for the group. A mark is a reason to look, no proof, and no mark is no proof of the opposite. "
        f"Groups of fewer than {report.head.least_rows} customers are not shown."
    )
    if report.fairness_note:
        yield paragraph(report.fairness_note, "note warn")
    for found in report.fairness:
        yield f"<h3>By {escape(found.attribute)}</h3>"
        yield paragraph(
            f"{found.statement[0].upper()}{found.statement[1:]}.", "" if "no group" in found.statement else "note"
        )
        yield _offers(found)
        yield _answers(found)
        yield paragraph(
            f"{found.unknown:,} decisions of customers whose group is not known; {found.suppressed} groups not shown.",
            "muted",
        )


def _shift_word(shift: Shift) -> Content:
    if shift.index > LARGE_SHIFT:
        return flag("large")
    return "some" if shift.index > SMALL_SHIFT else "none"


def _offers(found: FairnessTable) -> str:
    """Who is offered anything, and what a decision earns."""
    drawn = glyphs([group.offer_rate for group in found.groups])
    rows = [
        (
            group.group,
            f"{group.customers:,}",
            f"{group.decisions:,}",
            f"{group.offer_rate.value:.2%}",
            interval(group.offer_rate, PERCENT),
            glyph,
            _ratio(group),
            interval(group.ratio, "{:.3f}"),
            value(group.value, "{:,.1f}"),
            interval(group.value, "{:,.1f}"),
        )
        for group, glyph in zip(found.groups, drawn, strict=True)
    ]
    head = ("group", "customers", "decisions", "offered", "95 % interval", "", "ratio", "95 % interval")
    return table((*head, "value a decision", "95 % interval"), rows, "dense")


def _answers(found: FairnessTable) -> str:
    """Who accepts what was shown, and whether the probabilities are right."""
    drawn = glyphs([group.gap for group in found.groups], 0.0)
    rows = [
        (
            group.group,
            f"{group.rows:,}" if group.rows else "few",
            value(group.acceptance, PERCENT),
            interval(group.acceptance, PERCENT),
            number(group.predicted, PERCENT),
            value(group.gap, "{:+.4f}"),
            interval(group.gap, "{:+.4f}"),
            glyph,
            value(group.auc, "{:.3f}"),
            interval(group.auc, "{:.3f}"),
        )
        for group, glyph in zip(found.groups, drawn, strict=True)
    ]
    head = ("group", "shown", "accepted", "95 % interval", "predicted", "less accepted", "95 % interval", "")
    return table((*head, "AUC", "95 % interval"), rows, "dense")


def _ratio(group: GroupFigures) -> Content:
    if group.ratio is None:
        return "highest" if not group.below_four_fifths else flag("0")
    shown = value(group.ratio, "{:.3f}")
    return flag(shown) if group.below_four_fifths else shown
