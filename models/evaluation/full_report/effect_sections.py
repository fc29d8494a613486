"""The sections on what offering did: uplift against those not served, and the value of ranking by the version."""

from collections.abc import Iterator
from html import escape
from math import isfinite

from models.evaluation.full_report.holdout_uplift import EARNED, OPENED, UpliftComparison, UpliftSection
from models.evaluation.full_report.html_table import (
    figure,
    figures,
    flag,
    glyphs,
    interval,
    number,
    paragraph,
    table,
    value,
    words,
)
from models.evaluation.full_report.policy_headline import PolicyHeadline
from models.evaluation.full_report.qini import distinguishable
from models.evaluation.full_report.report_plots import qini_plot, uplift_bands_plot
from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.judgement import OffPolicyReport


def uplift_section_markup(section: UpliftSection) -> Iterator[str]:
    """Every comparison, and what cannot be compared."""
    yield paragraph(
        "Customers are dealt to arms by chance, so the difference between arms is what serving them did. Everyone "
        "counts once, at the first judged decision, ordered by the probability the model gives its best offer then. "
        "The Qini coefficient is the area between the curve and the dashed line of treating at random: above zero, the "
        "model finds those on whom offering works; near zero it only finds those who would have accepted anyway."
    )
    for statement in section.statements:
        yield paragraph(statement, "note warn")
    for comparison in section.comparisons:
        yield from _comparison(comparison)


def _comparison(found: UpliftComparison) -> Iterator[str]:
    curve = found.curve
    yield f"<h3>Served by the model against {escape(found.against)}: {escape(found.outcome)}</h3>"
    kind = "the bank's own events" if found.outcome == OPENED else "responses, so only to what was shown"
    told = "can be told from zero" if distinguishable(curve.coefficient) else "cannot be told from zero"
    form = "{:+,.1f}" if found.outcome == EARNED else "{:+.4f}"
    yield paragraph(
        f"{curve.treated:,} customers served, {curve.control:,} not; outcome from {kind}. Uplift "
        f"{value(curve.uplift, form)} a customer ({interval(curve.uplift, form)}). Qini coefficient "
        f"{value(curve.coefficient, form)} ({interval(curve.coefficient, form)}), which {told}; intervals by "
        f"bootstrap over customers, {curve.replicates:,} replicates, seed {curve.seed}."
    )
    plots = [figure(qini_plot(curve), "Qini curve with its pointwise interval; dashed: treating at random.")]
    if curve.bands:
        plots.append(figure(uplift_bands_plot(curve), "Uplift by fifth of the customers by score."))
    yield figures(*plots)
    yield table(
        ("fifth", "served", "outcome", "not served", "outcome", "uplift", "95 % interval"),
        [
            (
                str(band.band),
                f"{band.treated:,}",
                number(band.treated_mean, form.replace("+", "")),
                f"{band.control:,}",
                number(band.control_mean, form.replace("+", "")),
                value(band.uplift, form),
                interval(band.uplift, form),
            )
            for band in curve.bands
        ],
    )
    yield _slices(found, form)
    if found.suppressed:
        yield paragraph(f"{found.suppressed} parts without thirty customers in each arm not shown.", "muted")


def _slices(found: UpliftComparison, form: str) -> str:
    drawn = glyphs([one.uplift for one in found.slices], 0.0)
    return table(
        ("part", "served", "not served", "uplift", "95 % interval", "", "Qini", "95 % interval"),
        [
            (
                f"{one.title} {one.part}",
                f"{one.treated:,}",
                f"{one.control:,}",
                value(one.uplift, form),
                interval(one.uplift, form),
                glyph,
                value(one.coefficient, form),
                interval(one.coefficient, form),
            )
            for one, glyph in zip(found.slices, drawn, strict=True)
        ],
    )


def policy_section(found: PolicyHeadline) -> Iterator[str]:
    """What ranking by the version would have earned on the log."""
    yield paragraph(
        "Off-policy: what the recorded first choices would have earned had the version alone ranked them, from the "
        "recorded chances. Reward: an acceptance within the attribution window."
    )
    if found.report is None:
        yield paragraph(f"No value: {found.statement}.", "note warn")
        return
    report = found.report
    yield paragraph(
        f"{found.statement[0].upper()}{found.statement[1:]}; {report.choices:,} choices of {report.clusters:,} "
        f"customers. Intervals: bootstrap over customers, {report.rule.replicates:,} replicates, "
        f"seed {report.rule.seed}."
    )
    yield _estimates(report)
    for policy in report.policies:
        yield from (paragraph(f"No conclusion: {reason}.", "note warn") for reason in policy.refusals)
        yield from (paragraph(f"{warning}.", "note") for warning in policy.warnings)


def _estimates(report: OffPolicyReport) -> str:
    named: list[tuple[str, str, Estimate]] = [("as logged", "mean", report.logged)]
    for policy in report.policies:
        for kind, found in policy.estimates.items():
            named.append(("ranked by this version", kind.value + (" *" if kind is policy.headline else ""), found))
    drawn = glyphs([found for _, _, found in named], report.logged.value)
    rows = [
        (who, how, value(found, "{:.5f}"), interval(found, "{:.5f}"), glyph)
        for (who, how, found), glyph in zip(named, drawn, strict=True)
    ]
    over = [(policy.over_log, bool(policy.refusals)) for policy in report.policies]
    tail = [
        (
            "over the log",
            flag("no conclusion") if refused else "paired",
            value(found, "{:+.5f}"),
            interval(found, "{:+.5f}"),
            words(""),
        )
        for found, refused in over
        if isfinite(found.value)
    ]
    head = ("policy", "estimator (* to go by)", "reward a choice", "95 % interval", "")
    return table(head, [*rows, *tail])
