"""Why one option got its probability: what every column added, in log-odds and in probability.

In log-odds the contributions are the exact Shapley values of the trees (SHAP): with the margin of the average row they
add up to the option's margin. The calibrated probability is a function of the margin, so its difference from that of
the average row is shared out in the same proportions: this is the Aumann-Shapley rule along the straight way from one
margin to the other, and again adds up exactly.

Sources: S. Lundberg et al., From local explanations to global understanding with explainable AI for trees, Nature
Machine Intelligence 2 (2020); R. Aumann, L. Shapley, Values of Non-Atomic Games (1974).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Column, Matrix
from models.evaluation.full_report.column_importance import Explainable

Vector = NDArray[np.float64]


class CalibratedTrees(Explainable, Protocol):
    """Trees whose margins become probabilities."""

    def calibrated(self, margins: Vector, matrix: Matrix) -> Vector:
        """The probability of each margin, were it that of the matrix's row."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """One column: its value in words, what it added to the margin (log-odds), and to the probability."""

    column: str
    source: str
    described: str
    value: str
    margin: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreExplanation:
    """One option's score. `average_margin` and `average_probability` are what the contributions are added to; they are
    in order of size."""

    version: str
    average_margin: float
    margin: float
    average_probability: float
    probability: float
    contributions: tuple[Contribution, ...]


def explain_score(scorer: CalibratedTrees, row: Matrix, described: Mapping[str, str]) -> ScoreExplanation:
    """The explanation of a matrix of one row."""
    found = scorer.contributions(row)[0]
    start, margin = float(found[-1]), float(scorer.margins(row)[0])
    ends = [float(scorer.calibrated(np.array([at]), row)[0]) for at in (start, margin)]
    slope = (ends[1] - ends[0]) / (margin - start) if margin != start else 0.0
    columns = scorer.schema.columns
    order = np.argsort(-np.abs(found[:-1]), kind="stable").tolist()
    return ScoreExplanation(
        version=scorer.version,
        average_margin=start,
        margin=margin,
        average_probability=ends[0],
        probability=ends[1],
        contributions=tuple(
            Contribution(
                column=columns[place].name,
                source=columns[place].source.value,
                described=described.get(columns[place].name, ""),
                value=shown_value(columns[place], float(row[0, place])),
                margin=float(found[place]),
                probability=float(found[place]) * slope,
            )
            for place in order
        ),
    )


def shown_value(column: Column, number: float) -> str:
    """A matrix's number as people know it: the category's text, or the number; `missing` for none."""
    if np.isnan(number):
        return "missing"
    if column.categories is not None:
        return column.categories[int(number)]
    return f"{number:,.0f}" if number.is_integer() else f"{number:,.4f}"


def explanation_lines(found: ScoreExplanation, most: int = 12) -> list[str]:
    """The explanation in words, the largest contributions one by one and the rest together."""
    lines = [
        f"{found.version} gives {found.probability:.4f}; an average row gets {found.average_probability:.4f} "
        f"(log-odds {found.margin:+.4f}, average {found.average_margin:+.4f})"
    ]
    for part in found.contributions[:most]:
        if part.margin:
            raised = "raises" if part.margin > 0 else "lowers"
            title = f"{part.described} ({part.column})" if part.described else part.column
            lines.append(
                f"  {title} = {part.value} {raised} it by {abs(part.probability):.4f} (log-odds {part.margin:+.4f})"
            )
    rest = [part for part in found.contributions[most:] if part.margin]
    if rest:
        total, probability = sum(part.margin for part in rest), sum(part.probability for part in rest)
        lines.append(f"  {len(rest)} further columns together: {probability:+.4f} (log-odds {total:+.4f})")
    return lines
