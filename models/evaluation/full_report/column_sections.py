"""The sections on what a version goes by: importance of columns, and single decisions."""

from collections.abc import Iterator
from html import escape

from models.evaluation.full_report.column_importance import ImportanceTable
from models.evaluation.full_report.html_table import Cell, number, paragraph, table, words
from models.evaluation.full_report.report_content import ExplainedOption
from models.evaluation.full_report.svg_plot import share_bar

MOST_COLUMNS = 25
MOST_CONTRIBUTIONS = 15


def importance_section(found: ImportanceTable | None) -> Iterator[str]:
    """The columns by what they move."""
    if found is None:
        yield paragraph("This version has no trees, so there are no columns to weigh.", "note")
        return
    yield paragraph(
        f"Mean |SHAP| is how far a column moves the log-odds of a judged row, on average, one way or the other "
        f"({found.rows:,} rows, seed {found.seed}); gain is what splits on it earned while fitting. Neither says that "
        f"changing the attribute would change what a customer does. {found.unused} columns are in no tree."
    )
    strongest = max((column.mean_shap for column in found.columns), default=0.0) or 1.0
    yield table(
        ("column", "source", "what it is", "mean |SHAP|", "", "share of gain", ""),
        [
            (
                column.column,
                column.source,
                words(column.described),
                number(column.mean_shap),
                Cell(share_bar(column.mean_shap / strongest)),
                number(column.gain_share, "{:.1%}"),
                Cell(share_bar(column.gain_share, "bar second")),
            )
            for column in found.columns[:MOST_COLUMNS]
        ],
    )
    rest = found.columns[MOST_COLUMNS:]
    if rest:
        share = sum(column.gain_share for column in rest)
        yield paragraph(f"{len(rest)} further columns with {share:.1%} of the gain are in the JSON.", "muted")
    if found.agreement is not None:
        agreement = found.agreement
        yield paragraph(
            f"In resamples of the customers the order of the columns agrees with this one to {agreement.value:.3f} "
            f"(Spearman; 95 of 100 resamples from {agreement.low:.3f} to {agreement.high:.3f})."
        )


def explained_section(options: tuple[ExplainedOption, ...]) -> Iterator[str]:
    """Why single options got their probabilities."""
    if not options:
        yield paragraph(
            "No decision was asked for. `kairos evaluate explain DECISION_ID` says for each option of a decision what "
            "every column added; `kairos evaluate report … --decision DECISION_ID` puts it here."
        )
    for option in options:
        yield from _option(option)


def _option(option: ExplainedOption) -> Iterator[str]:
    found = option.explanation
    yield f"<h3>{escape(option.decision_id)}, place {option.rank}: {escape(option.offer)}</h3>"
    recorded = "" if option.recorded is None else f" The decision recorded {option.recorded:.4f}."
    yield paragraph(
        f"{found.probability:.4f}, where an average row gets {found.average_probability:.4f}.{recorded} The "
        f"contributions add up exactly: in log-odds from {found.average_margin:+.4f} to {found.margin:+.4f}, "
        "and in probability."
    )
    moving = [part for part in found.contributions if part.margin]
    strongest = max((abs(part.margin) for part in moving), default=1.0)
    rows = [
        (
            part.column,
            words(part.described),
            part.value,
            f"{part.probability:+.4f}",
            f"{part.margin:+.4f}",
            Cell(share_bar(abs(part.margin) / strongest, "bar" if part.margin > 0 else "bar second")),
        )
        for part in moving[:MOST_CONTRIBUTIONS]
    ]
    rest = moving[MOST_CONTRIBUTIONS:]
    if rest:
        added, margin = sum(part.probability for part in rest), sum(part.margin for part in rest)
        rows.append((f"{len(rest)} further", words(""), "", f"{added:+.4f}", f"{margin:+.4f}", Cell("")))
    yield table(
        ("column", "what it is", "value", "in probability", "in log-odds", "raises (blue), lowers (ochre)"), rows
    )
