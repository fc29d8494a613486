"""The sections on how well a version ranks and how right its probabilities are, altogether and part by part."""

from collections.abc import Iterator
from html import escape

from models.evaluation.full_report.calibration_curve import CalibrationCurve
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
from models.evaluation.full_report.lift_curve import LiftCurve
from models.evaluation.full_report.report_content import EvaluationReport
from models.evaluation.full_report.report_plots import (
    calibration_plot,
    gains_plot,
    lift_plot,
    small_calibration,
    small_gains,
)
from models.evaluation.full_report.slice_figures import SliceTable
from models.evaluation.report import METRIC_TITLES


def measures_section(report: EvaluationReport) -> Iterator[str]:
    """The measures every version carries."""
    yield paragraph(
        "AUC is the chance that an accepted option had a higher probability than one that was not. Log loss is the "
        "mean surprise at what happened, in nats; the gain is how much smaller it is than that of the offers' declared "
        "base rates, compared row by row, and above zero is better."
    )
    rows = []
    for name, title in METRIC_TITLES.items():
        metric = report.measures.get(name)
        if metric is not None:
            counted = name in {"rows", "positives"}
            low, high = metric.low, metric.high
            reach = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
            rows.append((title, f"{metric.value:,.0f}" if counted else f"{metric.value:.4f}", reach))
    yield table(("measure", "value", "95 % interval"), rows)


def calibration_section(curve: CalibrationCurve) -> Iterator[str]:
    """The curve and its points."""
    outside = sum(point.outside for point in curve.points)
    yield paragraph(
        "Options of neighbouring probability in bins of equally many rows. Where the exact binomial interval of what "
        "was observed does not hold what was predicted, the point is marked; one in twenty is by chance."
    )
    ratio = number(curve.predicted_to_observed, "{:.3f}")
    said = (
        f"Expected calibration error {curve.error:.4f}, predicted over observed {ratio}; "
        f"{outside} of {len(curve.points)} bins are off."
    )
    yield figures(figure(calibration_plot(curve), said))
    yield table(
        ("bin", "rows", "predicted", "observed", "95 % interval", ""),
        [
            (
                str(place + 1),
                f"{point.rows:,}",
                f"{point.predicted:.2%}",
                f"{point.observed.value:.2%}",
                interval(point.observed, PERCENT),
                flag("off") if point.outside else "",
            )
            for place, point in enumerate(curve.points)
        ],
    )


def lift_section(curve: LiftCurve | None) -> Iterator[str]:
    """Gains and lift by tenth."""
    if curve is None:
        yield paragraph("There is no acceptance to reach.", "note")
        return
    yield paragraph(
        "How many of the acceptances the options with the highest probability hold. The dashed line is no ranking at "
        "all, the grey one a perfect ranking."
    )
    area = f"Area under the gains curve (ALIFT) {curve.area:.4f}; none is 0.5, perfect {curve.best_area:.4f}."
    yield figures(figure(gains_plot(curve), area), figure(lift_plot(curve), "Acceptance of each tenth over the mean."))
    shown = [point for point in curve.points if round(point.share * 100) in {1, 5, 10, 20, 30, 50}]
    rows = [(f"{point.share:.0%}", f"{point.reached:.1%}", f"{point.lift:.2f}") for point in shown]
    yield table(("options taken", "acceptances reached", "lift"), rows)


def slices_section(report: EvaluationReport) -> Iterator[str]:
    """The measures of every part."""
    least = report.head.least_rows
    yield paragraph(
        f"The same measures for parts of the judged rows; parts of fewer than {least} rows are not shown. Small plots: "
        "calibration and gains as above. Weeks begin on Monday (UTC)."
    )
    for found in report.slices:
        yield f"<h3>By {escape(found.title)}</h3>"
        yield slice_table(found)
        if found.suppressed:
            yield paragraph(f"{found.suppressed} with fewer than {least} rows not shown.", "muted")
        yield small_plots(found)


def small_plots(found: SliceTable) -> str:
    """Calibration and gains of each part, side by side."""
    pairs = (
        small_calibration(one.calibration) + ("" if one.lift is None else small_gains(one.lift)) for one in found.slices
    )
    drawn = [figure(f'<div class="pair">{pair}</div>', one.part) for pair, one in zip(pairs, found.slices, strict=True)]
    return figures(*drawn)


def slice_table(found: SliceTable) -> str:
    """One row a part."""
    drawn = glyphs([one.auc for one in found.slices], 0.5)
    rows: list[tuple[Content, ...]] = []
    for one, glyph in zip(found.slices, drawn, strict=True):
        rows.append(
            (
                one.part,
                f"{one.rows:,}",
                f"{one.acceptance.value:.2%}",
                f"{one.predicted:.2%}",
                value(one.auc, "{:.3f}"),
                interval(one.auc, "{:.3f}"),
                glyph,
                number(one.log_loss.value),
                number(one.log_loss_base_rates.value),
                interval(one.gain),
                number(one.calibration.error),
                number(None if one.lift is None else one.lift.area, "{:.3f}"),
            )
        )
    head = ("part", "rows", "accepted", "predicted", "AUC", "95 % interval", "", "log loss", "base rates'")
    return table((*head, "gain, 95 % interval", "cal. error", "ALIFT"), rows, "dense")
