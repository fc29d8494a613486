"""Which group a customer is in at a moment: the value of an attribute, or the band it falls into."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from decision_engine.features.definitions import Value
from models.errors import EvaluationRefused
from models.evaluation.full_report.judged_rows import Texts

_SPEC = re.compile(r"(?P<attribute>[A-Za-z_][A-Za-z0-9_.]*)(:(?P<edges>-?[0-9.]+(,-?[0-9.]+)*))?")
MOST_VALUES = 12
"""A number with more values than this is shown in bands."""
UNKNOWN = ""

History = Sequence[tuple[int, Value]]
"""Moments (epoch milliseconds) and what the value was from then on, in order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupBy:
    """An attribute and, for a number, where its bands begin; without edges quarters of the customers are taken."""

    attribute: str
    edges: tuple[float, ...] = ()


def group_by(text: str) -> GroupBy:
    """`city`, or `age:30,45,60`. Raises EvaluationRefused."""
    match = _SPEC.fullmatch(text)
    if match is None:
        raise EvaluationRefused(f"--group {text}: give an attribute, or attribute:edge,edge such as age:30,45,60")
    edges = tuple(float(edge) for edge in match["edges"].split(",")) if match["edges"] else ()
    if any(first >= second for first, second in pairwise(edges)):
        raise EvaluationRefused(f"--group {text}: edges must rise")
    return GroupBy(attribute=match["attribute"], edges=edges)


def value_at(history: History, at_ms: int) -> Value | None:
    """What was known at that moment; the first value counts for the time before it, as it was only told then."""
    if not history:
        return None
    place = bisect_right(history, at_ms, key=lambda entry: entry[0])
    return history[max(0, place - 1)][1]


def group_names(values: Sequence[Value | None], by: GroupBy) -> Texts:
    """The group of each value; empty where the value is not known."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    edges = by.edges
    if not edges and len(set(numbers)) > MOST_VALUES:
        edges = tuple(np.unique(np.quantile(numbers, [0.25, 0.5, 0.75])).tolist())
    return np.array([_name(value, edges) for value in values], dtype=np.str_)


def _name(value: Value | None, edges: tuple[float, ...]) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or not edges:
        return value if isinstance(value, str) else f"{value:g}"
    place = bisect_right(edges, float(value))
    if place == 0:
        return f"under {edges[0]:g}"
    return f"{edges[-1]:g} and over" if place == len(edges) else f"{edges[place - 1]:g} to under {edges[place]:g}"
